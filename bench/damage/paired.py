"""Paired comparisons of two models on the same rows, and corrections for making many of them.

``b`` counts rows that only the original has right, ``c`` those that only the candidate has right; all
that the tests know of the data is in these two and the number of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from bench import stats
from bench.interval import Interval

Metric = Callable[[np.ndarray], float]
DRAWS = 2000


def mcnemar(b: int, c: int) -> float:
    """McNemar's exact p-value, two-sided: ``b`` of ``b + c`` fair coins (Dixon and Mood 1946)."""
    from scipy.stats import binom

    return min(1.0, 2 * float(binom.cdf(min(b, c), b + c, 0.5))) if b + c else 1.0


def tango(b: int, c: int, rows: int, level: float = stats.LEVEL) -> Interval:
    """Tango's score interval of the difference ``(c - b) / rows`` of two paired shares.

    The limits are where the score statistic reaches the normal quantile (Tango 1998, Statistics in
    Medicine 17:891, eqs. 8 to 10); unlike Wald's and the bootstrap's it has a width where nothing
    flipped, so that a small slice without flips is not taken for a sure thing.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)

    def score(difference: float) -> float:
        linear = -b - c + (2 * rows - c + b) * difference
        constant = -b * difference * (1 - difference)
        q = (math.sqrt(max(0.0, linear**2 - 8 * rows * constant)) - linear) / (4 * rows)
        variance = rows * (2 * q + difference * (1 - difference))
        gap = c - b - rows * difference
        return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap)

    value = (c - b) / rows

    def crossing(inside: float, outside: float, wanted: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(score(middle)) < wanted:
                inside = middle
            else:
                outside = middle
        return inside

    return Interval(low=crossing(value, -1.0, z), high=crossing(value, 1.0, z), level=level)


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


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down corrected p-values (Holm 1979): the chance of any false find stays at the level."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[index]))
        corrected[index] = highest
    return [float(value) for value in corrected]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's corrected p-values (1995): the expected share of false finds."""
    order = np.argsort(p_values, kind="stable")[::-1]
    corrected = np.empty(len(order))
    lowest = 1.0
    for place, index in enumerate(order):
        lowest = min(lowest, p_values[index] * len(order) / (len(order) - place))
        corrected[index] = lowest
    return [float(value) for value in corrected]
