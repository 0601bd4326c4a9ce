"""First-order change of the loss when the unit's weights go to zero, from gradients on labelled rows.

score(u) = |sum over the unit's weights of g w|, with g the gradient of the rows' summed loss
(Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", eq. 8 without the square).
"""

from __future__ import annotations

from typing import Any

import torch

from compress.criteria import Signal, Signals, Structure
from compress.criteria._base import CriterionConfig, per_unit


class Config(CriterionConfig):
    """No options."""


NEEDS: frozenset[Signal] = frozenset({"gradients"})
ACROSS_KINDS = True  # every score is a change of the same loss, a head's as well as a neuron's


def score(structure: Structure, signals: Signals, config: Any, generator: torch.Generator) -> torch.Tensor:
    """|sum of gradient times weight| of each unit, float64 [units]."""
    if signals.gradients is None:
        raise ValueError("taylor needs gradients")
    weights = (*structure.rows, *structure.columns, *structure.biases)
    products = [
        gradient.to(weight.device).double() * weight.double()
        for gradient, weight in zip(signals.gradients, weights, strict=True)
    ]
    return per_unit(structure, products).abs()
