"""One row of ours through a model: what does not fit together is refused where the folder is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compress import fence
from compress.errors import ModelError
from compress.model import sample

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks import Task


def run(model: PreTrainedModel, task: Task, processor: Any) -> None:
    """Run a model of images or sounds once; models of texts are run where padding is measured.

    Raises:
        ModelError: it does not take what its processor gives, or has other outputs than names.
    """
    import torch

    if sample.has_texts(task):
        return
    head = task.head_of(model.config.to_dict())
    inputs = sample.batch(task, processor, head, sample.rows(task)[:1]).inputs
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    problem = f"the {type(model).__name__} does not run on what its processor gives, {shapes}"
    remedy = "config.json, its weights and preprocessor_config.json do not belong together"
    with fence.reading(problem, remedy), torch.inference_mode():
        outputs = model(**{name: torch.from_numpy(array) for name, array in inputs.items()}, return_dict=True)
    for name in task.OUTPUTS:
        width = outputs[name].shape[-1]
        if width != head.width:
            raise ModelError(
                f"the {type(model).__name__} gives {width} numbers a row, and id2label of its config.json "
                f"has {head.width} names: name all of them there, or take a model with {head.width} outputs "
                "(paredown finetune makes one)"
            )
