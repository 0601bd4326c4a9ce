"""Chance, from the run's seed: the control that every other criterion has to beat."""

from __future__ import annotations

from typing import Any

import torch

from compress.criteria import Signal, Signals, Structure
from compress.criteria._base import CriterionConfig


class Config(CriterionConfig):
    """No options."""


NEEDS: frozenset[Signal] = frozenset()


def score(structure: Structure, signals: Signals, config: Any, generator: torch.Generator) -> torch.Tensor:
    """Numbers drawn evenly from [0, 1), float64 [units]."""
    return torch.rand(structure.units, dtype=torch.float64, generator=generator)
