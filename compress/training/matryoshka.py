"""Vectors that are good in their first numbers too: the loss of each of some lengths, added up.

    L = sum over m in {d_1, ..., d_k, d} of L_task(first m numbers of each vector)

Kusupati et al. 2022 ("Matryoshka Representation Learning"), eq. 1, every weight 1, with the whole vector (d)
among the lengths. The stage ``truncate-vectors`` then keeps the first numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field

from compress.errors import RecipeError
from compress.tasks import Head, Task
from compress.training.batching import TorchBatch
from compress.training.objectives import TaskObjective

Lengths = tuple[Annotated[int, Field(ge=1, le=2**20)], ...]


def check_lengths(lengths: Sequence[int], head: Head) -> None:
    """Refuse lengths that vectors have not.

    Args:
        lengths: asked for; nothing is refused where there are none.
        head: of the model, with the size of its vectors.

    Raises:
        RecipeError: the model makes no vectors, or none that are longer.
    """
    if not lengths:
        return
    if head.answer != "vector" or head.size is None:
        raise RecipeError("matryoshka is of vectors, and this model makes none: leave it out")
    if max(lengths) >= head.size:
        raise RecipeError(
            f"matryoshka names {max(lengths)} numbers of a vector, and the model's have {head.size}: name "
            "fewer; the whole vector is always among the lengths"
        )


class MatryoshkaObjective(TaskObjective):
    """The task's loss of vectors and of their beginnings. Call it with the model and the batch."""

    def __init__(self, task: Task, head: Head, lengths: Sequence[int]) -> None:
        """Take the task module, what the model predicts, and the lengths besides the whole."""
        super().__init__(task, head)
        self._lengths = tuple(dict.fromkeys(lengths))

    def of(self, outputs: dict[str, torch.Tensor], batch: TorchBatch) -> torch.Tensor:
        """The sum of the mean losses, a scalar."""
        total = super().of(outputs, batch)
        for length in self._lengths:
            beginnings = {name: outputs[name][..., :length] for name in self._task.OUTPUTS}
            total = total + super().of({**outputs, **beginnings}, batch)
        return total
