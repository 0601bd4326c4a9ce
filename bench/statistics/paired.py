"""Two models on the same rows, each row right or wrong: only the rows on which they differ say anything.

With ``worse`` rows that only the baseline gets right and ``better`` rows that only the candidate does, of
``rows`` in all, the difference of the two accuracies is (better - worse) / rows. Whether it could be
chance is McNemar's test (1947), here in its exact binomial form. Its interval is Tango's score interval
(Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", eq. 3), which holds with few differing rows and with none, where a bootstrap
would give an interval of no width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from bench.record.model import Interval, Paired

LEVEL = 0.95
# Chance of a clear answer at the number of rows that is named as enough.
POWER = 0.8


def compare(candidate: np.ndarray, baseline: np.ndarray) -> Paired:
    """Counts of differing rows, and McNemar's p-value.

    Args:
        candidate: whether the candidate is right, [rows].
        baseline: whether the baseline is.
    """
    candidate, baseline = np.asarray(candidate, dtype=bool), np.asarray(baseline, dtype=bool)
    worse, better = int((baseline & ~candidate).sum()), int((candidate & ~baseline).sum())
    return Paired(rows=len(candidate), worse=worse, better=better, p_value=mcnemar(worse, better))


def pack(right: np.ndarray) -> str:
    """Which rows are right, bool [rows], as hexadecimal digits; the first row is the highest bit."""
    return np.packbits(np.asarray(right, dtype=bool)).tobytes().hex()


def unpack(text: str, rows: int) -> np.ndarray:
    """The rows of ``pack``, bool [rows]."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=rows).astype(bool)


def mcnemar(worse: int, better: int) -> float:
    """The exact two-sided p-value: how likely so uneven a split of the differing rows is by a fair coin."""
    from scipy.stats import binomtest

    count = worse + better
    return float(binomtest(worse, count, 0.5).pvalue) if count else 1.0


def _score(worse: int, better: int, rows: int, difference: float) -> float:
    """Tango's statistic for a supposed difference: standard normal where the supposition is true."""
    a = 2 * rows
    b = -better - worse + (2 * rows - better + worse) * difference
    c = -worse * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = rows * (2 * share + difference * (1 - difference))
    gap = better - worse - rows * difference
    if variance <= 0:
        return math.copysign(math.inf, gap) if gap else 0.0
    return gap / math.sqrt(variance)


def _crossing(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero; the end that it does not reach it from, where it does not.

    By halving alone, since the statistic is infinite where it has no variance.
    """
    from scipy.optimize import bisect

    if falling(low) <= 0:
        return low
    if falling(high) >= 0:
        return high
    return float(bisect(falling, low, high, xtol=1e-15))


def tango(worse: int, better: int, rows: int, level: float = LEVEL) -> Interval:
    """The interval of candidate minus baseline, as a share of rows."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    low = _crossing(lambda d: _score(worse, better, rows, d) - z, -1.0, (better - worse) / rows)
    high = _crossing(lambda d: _score(worse, better, rows, d) + z, (better - worse) / rows, 1.0)
    return Interval(low=low, high=high, level=level)


def rows_enough(
    drop: float, limit: float, row_variance: float, level: float = LEVEL, power: float = POWER
) -> int | None:
    """How many rows would settle whether a drop holds a limit, were drop and spread as observed.

    Below the limit, as many as make the interval end within it with that power; above it, as many as
    make it exclude "no drop". From the normal approximation: n = (z_level + z_power)^2 v / gap^2, and
    where nothing varies, from the interval of no differing rows, z^2 (1 - limit) / limit.

    Args:
        drop: observed, as a share.
        limit: allowed, as a share.
        row_variance: of a row's difference; for labels the share of differing rows less drop squared.
        level: of the interval.
        power: chance of a clear answer at that many rows.

    Returns:
        None where no number helps: the drop is the limit, or nothing varies and no drop is allowed.
    """
    normal = NormalDist()
    z = normal.inv_cdf(0.5 + level / 2)
    if row_variance <= 0:
        return math.ceil(z * z * (1 - limit) / limit) if limit > drop and limit > 0 else None
    gap = limit - drop if drop <= limit else drop
    if gap <= 0:
        return None
    return math.ceil((z + normal.inv_cdf(power)) ** 2 * row_variance / gap**2)
