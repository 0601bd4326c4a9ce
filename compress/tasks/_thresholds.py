"""Where decisions turn: thresholds in ``config.json``, which every form of a model carries, and fitting them.

Compression moves a model's probabilities, and with them the threshold that decides best; see the stage
``fit-threshold``. A threshold belongs to the model, so that every runtime decides as it was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError

if TYPE_CHECKING:
    from compress.tasks import Head

FIELD = "decision_thresholds"


def read(config: Mapping[str, Any], count: int) -> tuple[float, ...] | None:
    """The thresholds that a ``config.json`` names; None where it names none.

    Args:
        config: its content.
        count: how many the head has.

    Raises:
        ModelError: they are not so many numbers.
    """
    values = config.get(FIELD)
    if values is None:
        return None
    if (
        not isinstance(values, list | tuple)
        or len(values) != count
        or not all(type(value) in (int, float) and math.isfinite(value) for value in values)
    ):
        raise ModelError(
            f"{FIELD} in config.json is {str(values)[:80]}, and this model's head has {count} thresholds, "
            "each a number: fit them again with 'paredown fit-threshold', or leave the field out"
        )
    return tuple(float(value) for value in values)


def write(config: Any, head: Head) -> None:
    """Write a head's thresholds into a transformers config, or take them out."""
    if head.thresholds is not None:
        setattr(config, FIELD, list(head.thresholds))
    elif hasattr(config, FIELD):
        delattr(config, FIELD)


def best(values: np.ndarray, over: np.ndarray, under: np.ndarray, usual: float = 0.0) -> float:
    """The threshold with the largest sum of gains, halfway between two values; the nearest to ``usual``.

    Args:
        values: what is held against it, float64 [decisions]; may be infinite.
        over: gain of each decision where its value is above the threshold.
        under: gain where it is not.
        usual: threshold that is taken where no other gains more.
    """
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    # gains[i]: the first i decisions, from the smallest value, are not above the threshold.
    gains = np.concatenate([[0.0], np.cumsum(under[order])]) + np.concatenate(
        [np.cumsum(over[order][::-1])[::-1], [0.0]]
    )
    finite = np.unique(values[np.isfinite(values)])
    middles = (finite[1:] + finite[:-1]) / 2
    ends = np.array([finite[0] - 1, finite[-1] + 1]) if len(finite) else np.zeros(0)
    candidates = np.concatenate([[usual], middles, ends])
    reached = gains[np.searchsorted(ranked, candidates, side="right")]
    top = candidates[reached >= reached.max() - 1e-9]
    return float(top[np.abs(top - usual).argmin()])
