"""One blank image through a model: what does not fit together is refused where the folder is read."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import fence

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def run(model: PreTrainedModel, task: ModuleType, processor: Any) -> None:
    """Run a model of images once; models of texts are run where padding is measured.

    Raises:
        ModelError: it does not take what its processor gives.
    """
    import torch

    if not any(column.holds == "image" for column in task.COLUMNS.values()):
        return
    pixels = torch.from_numpy(np.zeros((1, *task.pixel_shape(processor)), dtype=np.float32))
    what = f"the {type(model).__name__} does not run on what its image processor gives, {list(pixels.shape)}"
    remedy = "config.json, its weights and preprocessor_config.json do not belong together"
    with fence.reading(what, remedy), torch.inference_mode():
        model(pixel_values=pixels, return_dict=True)
