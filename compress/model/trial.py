"""One blank image through a model: what does not fit together is refused where the folder is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress import fence
from compress.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks import Task


def run(model: PreTrainedModel, task: Task, processor: Any) -> None:
    """Run a model of images once; models of texts are run where padding is measured.

    Raises:
        ModelError: it does not take what its processor gives, or has other outputs than names.
    """
    import torch

    if not any(column.holds == "image" for column in task.COLUMNS.values()):
        return
    pixels = torch.from_numpy(np.zeros((1, *task.pixel_shape(processor)), dtype=np.float32))
    problem = (
        f"the {type(model).__name__} does not run on what its image processor gives, {list(pixels.shape)}"
    )
    remedy = "config.json, its weights and preprocessor_config.json do not belong together"
    with fence.reading(problem, remedy), torch.inference_mode():
        outputs = model(pixel_values=pixels, return_dict=True)
    named = max(1, len(task.head_of(model.config.to_dict()).labels))
    for name in task.OUTPUTS:
        width = outputs[name].shape[-1]
        if width != named:
            raise ModelError(
                f"the {type(model).__name__} gives {width} numbers a row, and id2label of its config.json "
                f"has {named} names: name all of them there, or take a model with {named} outputs "
                "(paredown finetune makes one)"
            )
