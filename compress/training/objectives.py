"""What training minimizes when there is no teacher: the task's own loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from compress.tasks import Head, Task
from compress.training.batching import TorchBatch

Objective = Callable[[nn.Module, TorchBatch], torch.Tensor]


def tensors(outputs: Mapping[str, object]) -> dict[str, torch.Tensor]:
    """The outputs of a model that are one tensor, by name (hidden states, say, are several)."""
    return {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor)}


class TaskObjective:
    """The task's loss of a labelled batch. Call it with the model and the batch."""

    def __init__(self, task: Task, head: Head) -> None:
        """Take the task module and what the model predicts."""
        self._task = task
        self._head = head

    def __call__(self, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
        """The mean loss, a scalar."""
        outputs = model(**batch.inputs)
        return self.of(outputs, batch)

    def of(self, outputs: dict[str, torch.Tensor], batch: TorchBatch) -> torch.Tensor:
        """The mean loss of outputs that were computed already, a scalar."""
        named = {name: tensor.float() for name, tensor in tensors(outputs).items()}
        if batch.labels is None:
            raise TypeError("a batch without labels has no loss by labels")
        return self._task.loss(named, batch.labels, self._head, batch.arrays)
