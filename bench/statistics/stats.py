"""The statistics of a benchmark, as pure functions on arrays.

Timings come as ``[rounds, runs]``: runs of one round share the machine's mood, so that whole rounds
are resampled and never single runs. Two candidates are compared by round, since their turns of one
round lie side by side in time: on a machine where medians of separate runs gave a false alarm in 22 % of
comparisons of equal models, ratios of per-round medians gave none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from bench.record.model import Interval

RESAMPLES = 2000
LEVEL = 0.95
# A percentile is stated when at least this many samples lie beyond it: p95 from 100 samples, p99 from 500.
BEYOND = 5
# Share of resamples that may have no figure (0/0) before an interval is withheld.
UNDEFINED = 0.05


def needed(q: float) -> int:
    """How many samples percentile ``q`` (0 to 100, exclusive) needs to be stated; the median any."""
    if q == 50:
        return 1
    tail = min(q, 100 - q) / 100
    return math.ceil(BEYOND / tail - 1e-9)


def supported(count: int, q: float) -> bool:
    """Whether ``count`` samples carry percentile ``q``: at least ``BEYOND`` of them lie beyond it."""
    return count >= needed(q)


def percentile(samples: np.ndarray, q: float) -> float:
    """Percentile ``q`` of all samples, between neighbors by straight line (numpy's default)."""
    return float(np.percentile(samples, q))


def interval(values: np.ndarray, level: float = LEVEL) -> Interval | None:
    """The percentile interval of bootstrap values; None where too many of them have no figure."""
    finite = values[np.isfinite(values)]
    if finite.size < (1 - UNDEFINED) * values.size or not finite.size:
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(finite, [tail, 100 - tail])
    return Interval(low=float(low), high=float(high), level=level)


def rank_interval(samples: np.ndarray, q: float, level: float = LEVEL) -> Interval:
    """Interval of percentile ``q`` of independent samples, between two of them; free of assumptions on them.

    How many samples lie below the percentile is binomial (David and Nagaraja, "Order Statistics", 7.1).
    """
    from scipy.stats import binom

    ordered = np.sort(samples)
    tail = (1 - level) / 2
    low, high = (int(rank) for rank in binom.ppf([tail, 1 - tail], len(ordered), q / 100))
    return Interval(
        low=float(ordered[max(low - 1, 0)]), high=float(ordered[min(high, len(ordered) - 1)]), level=level
    )


def resample_rounds(rounds: int, generator: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices of rounds drawn with replacement, int [resamples, rounds]."""
    return generator.integers(0, rounds, size=(resamples, rounds))


def percentile_interval(samples: np.ndarray, q: float, draws: np.ndarray) -> Interval | None:
    """Interval of a percentile of timings by resampling whole rounds.

    Args:
        samples: [rounds, runs].
        q: 0 to 100.
        draws: from ``resample_rounds``.
    """
    return interval(_pooled_percentiles(samples, q, draws))


def _pooled_percentiles(samples: np.ndarray, q: float, draws: np.ndarray) -> np.ndarray:
    pooled = samples[draws].reshape(len(draws), -1)
    return np.asarray(np.percentile(pooled, q, axis=1))


def ratio_of_medians(
    candidate: np.ndarray, baseline: np.ndarray, draws: np.ndarray
) -> tuple[float, Interval | None]:
    """Median over rounds of the ratio of the round's medians, with its bootstrap interval.

    Args:
        candidate: [rounds, runs].
        baseline: [rounds, runs], of the same rounds.
        draws: from ``resample_rounds``.
    """
    ratios = np.median(candidate, axis=1) / np.median(baseline, axis=1)
    return float(np.median(ratios)), interval(np.median(ratios[draws], axis=1))


def ratio_of_percentiles(
    candidate: np.ndarray, baseline: np.ndarray, q: float, draws: np.ndarray
) -> tuple[float, Interval | None]:
    """Ratio of a percentile over all runs; both sides resampled by the same rounds.

    For tails: a single round has too few runs to carry its own.
    """
    value = percentile(candidate, q) / percentile(baseline, q)
    drawn = _pooled_percentiles(candidate, q, draws) / _pooled_percentiles(baseline, q, draws)
    return value, interval(drawn)


def spread(medians: Sequence[float]) -> float:
    """How far apart the figures of some windows are: largest over smallest, less one."""
    return max(medians) / min(medians) - 1


def is_stable(medians: Sequence[float], windows: int = 3, tolerance: float = 0.1) -> bool:
    """Whether the last windows' medians lie within a tolerance of each other: warm-up is over."""
    return len(medians) >= windows and spread(medians[-windows:]) <= tolerance


def drift(samples: np.ndarray) -> float:
    """How much slower (or, below 0, faster) the later half of the rounds was than the earlier one.

    The ratio of the two halves' medians of per-round medians, less one.
    """
    early, late = _halves(samples)
    return float(np.median(late) / np.median(early) - 1)


def drift_by_chance(samples: np.ndarray) -> float:
    """How likely a drift is where rounds only vary: the p-value of Student's test of the two halves, 0 to 1.

    On logarithms of per-round medians, two-sided, both halves of one spread; at least two rounds a half.
    """
    from scipy.stats import ttest_ind_from_stats

    logs = [np.log(half) for half in _halves(samples)]
    described = [figure for half in logs for figure in (half.mean(), half.std(ddof=1), len(half))]
    return float(ttest_ind_from_stats(*described).pvalue)


def _halves(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The per-round medians of the earlier and the later half, without the middle one of an odd number."""
    medians = np.median(samples, axis=1)
    half = len(medians) // 2
    return medians[:half], medians[-half:]


def resample_weights(rows: int, generator: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each row is drawn in each resample, float32 [resamples, rows]; each line sums to ``rows``.

    Used for all candidates alike, so that differences between them are paired.
    """
    draws = generator.integers(0, rows, size=(resamples, rows))
    weights = np.empty((resamples, rows), dtype=np.float32)
    for index, draw in enumerate(draws):
        weights[index] = np.bincount(draw, minlength=rows)
    return weights


def resampled_metrics(
    statistics: np.ndarray,
    metrics: Callable[[np.ndarray], dict[str, float]],
    weights: np.ndarray,
) -> dict[str, np.ndarray]:
    """Each metric in each resample, float64 [resamples].

    Args:
        statistics: additive row statistics, [rows, k].
        metrics: from summed statistics [k] to figures.
        weights: from ``resample_weights``.
    """
    totals = weights.astype(np.float64) @ statistics
    figures = [metrics(total) for total in totals]
    return {name: np.array([values[name] for values in figures], dtype=np.float64) for name in figures[0]}


def wilson(successes: float, count: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); sound at 0 and 1, where a bootstrap is not."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / count
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(low=max(0.0, center - half), high=min(1.0, center + half), level=level)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats: lower (or equal) cost and higher (or equal) gain.

    Args:
        points: (cost, gain) pairs.

    Returns:
        The indices, by rising cost; of equal points, the first.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i))
    front: list[int] = []
    best = -math.inf
    for index in order:
        if points[index][1] > best:
            front.append(index)
            best = points[index][1]
    return front
