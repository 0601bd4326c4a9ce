"""Energy that the unit adds to the residual stream, from its outputs on real tokens. Needs no labels.

score(u) = E[h_u^2] * mean square of the unit's output columns: with independent features, what the
stream loses in mean square when the unit goes (the representational term of K-prune, Park et al. 2024;
columns alone would call a loud neuron important that nothing reads).
"""

from __future__ import annotations

from typing import Any

import torch

from compress.criteria import Signal, Signals, Structure
from compress.criteria._base import CriterionConfig


class Config(CriterionConfig):
    """No options."""


NEEDS: frozenset[Signal] = frozenset({"activations"})


def score(structure: Structure, signals: Signals, config: Any, generator: torch.Generator) -> torch.Tensor:
    """Mean square output times mean square of the output columns, float64 [units]."""
    if signals.activations is None:
        raise ValueError("activation needs activations")
    columns = sum(
        weight.double().cpu().square().mean(dim=0).reshape(structure.units, structure.width).sum(dim=1)
        for weight in structure.columns
    )
    return signals.activations.double().cpu() * columns
