"""Size of the weights: the norm of everything that belongs to the unit. Needs no rows.

score(u) = (sum over the unit's weights of |w|^p)^(1/p), p = 1 or 2 (Han et al. 2015 for single
weights; Li et al. 2017 for whole filters).
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from compress.criteria import Signal, Signals, Structure
from compress.criteria._base import CriterionConfig, per_unit


class Config(CriterionConfig):
    """Options.

    Attributes:
        norm: of a unit's weights.
    """

    norm: Literal["l1", "l2"] = "l2"


NEEDS: frozenset[Signal] = frozenset()


def score(structure: Structure, signals: Signals, config: Any, generator: torch.Generator) -> torch.Tensor:
    """The norm of each unit's weights, float64 [units]."""
    weights = (*structure.rows, *structure.columns, *structure.biases)
    power = 1 if config.norm == "l1" else 2
    terms = per_unit(structure, [weight.double().abs() ** power for weight in weights])
    return terms if power == 1 else terms.sqrt()
