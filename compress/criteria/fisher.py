"""Second-order change of the loss when the unit is masked: the diagonal of the empirical Fisher matrix.

score(u) = sum over rows of (d loss of the row / d mask of u)^2 (Kwon et al. 2022, "A Fast Post-Training
Pruning Framework for Transformers", eq. 5). Needs labelled rows.
"""

from __future__ import annotations

from typing import Any

import torch

from compress.criteria import Signal, Signals, Structure
from compress.criteria._base import CriterionConfig


class Config(CriterionConfig):
    """No options."""


NEEDS: frozenset[Signal] = frozenset({"fisher"})
ACROSS_KINDS = True  # every score is a change of the same loss, a head's as well as a neuron's


def score(structure: Structure, signals: Signals, config: Any, generator: torch.Generator) -> torch.Tensor:
    """The Fisher information of each unit's mask, float64 [units]."""
    if signals.fisher is None:
        raise ValueError("fisher needs the squared derivatives of the masks")
    return signals.fisher.double().cpu()
