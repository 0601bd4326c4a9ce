"""What a criterion is: it scores the units of a structure, higher means keep.

A criterion is a module in this folder. It names the signals that it ``NEEDS``; they are collected
once for all layers before anything is scored. Scoring is pure maths on one structure's tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

if TYPE_CHECKING:
    import torch

Signal = Literal["gradients", "fisher", "activations"]


@dataclass(frozen=True)
class Structure:
    """One prunable structure of a layer: its attention heads or its FFN neurons.

    Attributes:
        name: such as ``layer.3.heads`` or ``layer.3.ffn``.
        kind: what a unit is.
        units: how many there are.
        rows: weights whose output rows belong to the units, each [units * k, in]; k is the width, or the
            size of one head where several query heads share a key and a value and the unit is all of them.
        columns: weights whose input columns belong to the units, each [out, units * width].
        biases: biases of ``rows``, each [units * k].
        width: columns a unit (the head size, or that of a group; 1 for a neuron).
    """

    name: str
    kind: Literal["heads", "ffn"]
    units: int
    width: int
    rows: tuple[torch.Tensor, ...]
    columns: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Signals:
    """What was collected for one structure on training or calibration rows; None where not needed.

    Attributes:
        gradients: of ``rows``, ``columns`` and ``biases`` in that order, summed over rows.
        fisher: sum over samples of the squared derivative of the loss by a multiplicative mask on
            each unit, [units] (Kwon et al. 2022, eq. 5).
        activations: mean square of each unit's output on real positions, [units].
    """

    gradients: tuple[torch.Tensor, ...] | None = None
    fisher: torch.Tensor | None = None
    activations: torch.Tensor | None = None


class Criterion(Protocol):
    """The names that a criterion module defines.

    Attributes:
        Config: its options.
        NEEDS: signals to collect beforehand.
        ACROSS_KINDS: whether a head's score and a neuron's are changes of the same thing, so that the two can
            be compared (``scope: joint``).
        NAME: in the catalog, which gives it.
        BROUGHT_BY: the distribution that brings it -> its version, from the catalog; empty for one of ours.
    """

    Config: type[BaseModel]
    NEEDS: frozenset[Signal]
    ACROSS_KINDS: bool = False
    NAME: str = ""
    BROUGHT_BY: Mapping[str, str] = MappingProxyType({})

    @staticmethod
    def score(
        structure: Structure, signals: Signals, config: Any, generator: torch.Generator
    ) -> torch.Tensor:
        """Scores [units], finite, float64; higher = keep. Comparable between layers of one kind."""
        ...
