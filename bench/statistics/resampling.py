"""Paired differences of any metric of sums: bootstrap over rows, and the randomization test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.record.interval import Interval
from bench.statistics import stats

Metric = Callable[[np.ndarray], float]
DRAWS = 2000
# For each question of one family: the corrected p-value can then fall to 1/400, and of an interval that holds
# for all of them, 10 resamples lie beyond either end.
DRAWS_A_QUESTION = 400
# Where more questions than 50 are asked, so that the time stays bounded: with 200, p falls to 0.01.
MOST_DRAWS = 20_000


def draws_for(questions: int) -> int:
    """How many resamples a figure needs that is corrected for so many questions."""
    return min(max(DRAWS, DRAWS_A_QUESTION * questions), MOST_DRAWS)


def blocks(draws: int) -> list[int]:
    """Sizes of the parts in which resamples are drawn, so that memory does not grow with their number."""
    return [min(DRAWS, draws - start) for start in range(0, draws, DRAWS)]


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
    drawn = [
        metric(candidate) - metric(original)
        for candidate, original in zip(wide @ after, wide @ before, strict=True)
    ]
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
    smallest p-value is 1 / (draws + 1): ``draws_for`` says how many a correction needs.
    """
    changed = (before != after).any(axis=1)
    if not changed.any():
        return 1.0
    fixed = before[~changed].sum(axis=0)
    left, gap = before[changed], after[changed] - before[changed]
    observed = abs(metric(after.sum(axis=0)) - metric(before.sum(axis=0)))
    low, total = fixed + left.sum(axis=0), gap.sum(axis=0)
    extreme = 0
    for size in blocks(draws):
        moved = generator.integers(0, 2, size=(size, len(left))).astype(np.float64) @ gap
        extreme += sum(
            abs(metric(low + move) - metric(low + total - move)) >= observed - 1e-12 for move in moved
        )
    return (1 + extreme) / (1 + draws)
