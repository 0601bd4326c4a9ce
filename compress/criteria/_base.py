"""What criteria share: strict options, and the sum of a tensor over each unit's entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.strict import Strict

if TYPE_CHECKING:
    import torch

    from compress.criteria import Structure


class CriterionConfig(Strict):
    """Options of a criterion: unknown keys are refused, values never change."""


def per_unit(structure: Structure, terms: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum of all terms that belong to each unit, float64 [units], on the CPU.

    Args:
        structure: says which rows and columns are whose.
        terms: shaped like the structure's rows, columns and biases, in that order.
    """
    total = None
    for position, term in enumerate(terms):
        is_column = len(structure.rows) <= position < len(structure.rows) + len(structure.columns)
        if is_column:
            summed = term.double().sum(dim=0)
        else:
            summed = term.double().reshape(term.shape[0], -1).sum(dim=1)
        units = summed.reshape(structure.units, -1).sum(dim=1).cpu()
        total = units if total is None else total + units
    if total is None:
        raise ValueError(f"{structure.name} has no tensors")
    return total
