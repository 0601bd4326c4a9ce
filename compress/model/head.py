"""The head that data asks for, on a model that has another one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from compress.articles import a_type
from compress.errors import ModelError
from compress.model import body, checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.tasks import Head, Task


def replace_head(model: PreTrainedModel, task: Task, head: Head, seed: int) -> None:
    """Give a model a fresh head, in place: everything outside its base model is built anew.

    The base keeps its weights and its shapes, pruned ones included. So does what a class of ours names as
    ``BEHIND_BODY``: the layers that make a vector of the base's states, on which a classifier stands.

    Args:
        model: of the task's class.
        task: the task module.
        head: what the new head predicts.
        seed: of its weights.

    Raises:
        ModelError: the model has no part that is only its head.
    """
    config = copy.deepcopy(model.config)
    task.configure(config, head)
    fresh = checkpoint.initialize(config, task, seed)
    base = body.name(model)
    trained = {base, *getattr(model, "BEHIND_BODY", ())}
    parts = [name for name, _ in fresh.named_children() if name not in trained]
    if not hasattr(model, base) or not parts:
        raise ModelError(
            f"{a_type(model)} has no head apart from its base model, so that it cannot be given "
            "the labels of this data: use a model that was made for them"
        )
    for name in parts:
        setattr(model, name, getattr(fresh, name))
    task.configure(model.config, head)
    if hasattr(model, "num_labels"):
        model.num_labels = model.config.num_labels
    model.eval()
