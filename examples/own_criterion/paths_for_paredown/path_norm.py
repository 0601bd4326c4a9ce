"""The norm of the paths through a unit: what goes in times what comes out.

score(u) = |w_in(u)| |w_out(u)|. Moving a factor from one side of a unit to the other changes nothing
(Neyshabur et al. 2015, "Path-SGD").
"""

from __future__ import annotations

from typing import Any

import torch

from compress.criteria import Signal, Signals, Structure
from compress.criteria._base import CriterionConfig


class Config(CriterionConfig):
    """No options."""


NEEDS: frozenset[Signal] = frozenset()


def score(structure: Structure, signals: Signals, config: Any, generator: torch.Generator) -> torch.Tensor:
    """The product of both norms, float64 [units]."""
    size = structure.width
    into = [w.double().reshape(-1, size, w.shape[1]).square().sum((1, 2)) for w in structure.rows]
    out = [w.double().reshape(w.shape[0], -1, size).square().sum((0, 2)) for w in structure.columns]
    return (torch.stack(into).sum(0) * torch.stack(out).sum(0)).sqrt()
