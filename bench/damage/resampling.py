"""Paired differences of any metric of sums: bootstrap over rows, and the randomization test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench import stats
from bench.interval import Interval

Metric = Callable[[np.ndarray], float]
DRAWS = 2000


def difference(
    before: np.ndarray, after: np.ndarray, metric: Metric, weights: np.ndarray
) -> tuple[float, np.ndarray]:
    """The metric's difference, and its values in resamples of rows.

    Args:
        before: the original's additive row statistics, [rows, k].
        after: the candidate's.
        metric: from summed statistics [k] to the figure.
        weights: from ``stats.resample_weights``, [resamples, rows].
    """
    wide = weights.astype(np.float64)
    drawn = [metric(own) - metric(other) for own, other in zip(wide @ after, wide @ before, strict=True)]
    return metric(after.sum(axis=0)) - metric(before.sum(axis=0)), np.array(drawn)


def centered(value: float, drawn: np.ndarray) -> Interval | None:
    """The bootstrap interval of a figure that resampling inflates, shifted back by that bias.

    Distances (a largest less a smallest, sums of absolute gaps) grow with noise, in resamples more than
    in the sample: the plain percentile interval may not even hold the figure (Efron and Tibshirani 1993,
    section 10.6 on the correction).

    Args:
        value: on the sample.
        drawn: in resamples.
    """
    finite = drawn[np.isfinite(drawn)]
    return stats.interval(drawn - finite.mean() + value) if finite.size else None


def randomization(
    before: np.ndarray,
    after: np.ndarray,
    metric: Metric,
    generator: np.random.Generator,
    draws: int = DRAWS,
) -> float:
    """Two-sided p-value of no difference: swap the two models' statistics row by row at random.

    The approximate randomization test (Noreen 1989; Yeh 2000), sound for any metric of sums; the
    smallest p-value is 1 / (draws + 1).
    """
    changed = (before != after).any(axis=1)
    if not changed.any():
        return 1.0
    fixed = before[~changed].sum(axis=0)
    left, gap = before[changed], after[changed] - before[changed]
    found = abs(metric(after.sum(axis=0)) - metric(before.sum(axis=0)))
    swaps = generator.integers(0, 2, size=(draws, len(left))).astype(np.float64)
    moved = swaps @ gap
    low, total = fixed + left.sum(axis=0), gap.sum(axis=0)
    extreme = sum(abs(metric(low + move) - metric(low + total - move)) >= found - 1e-12 for move in moved)
    return (1 + extreme) / (1 + draws)
