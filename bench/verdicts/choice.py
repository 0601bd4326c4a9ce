"""Which of several candidates ships: the one that is measured to be the fastest.

The first named is the default and stays it unless another is faster beyond chance: the interval of the
ratio of their per-round medians (p50, at the first point of the grid) lies below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.record.interval import Interval
from bench.record.model import Measurement, Report
from bench.statistics import stats

_METRIC = "latency_p50_ms"


@dataclass(frozen=True)
class Choice:
    """What ships, and why.

    Attributes:
        name: of the candidate.
        reason: one sentence.
    """

    name: str
    reason: str


def ratio(candidate: Measurement, incumbent: Measurement, seed: int) -> tuple[float, Interval | None]:
    """Median of the per-round ratios of two latencies of one run, with its interval."""
    rounds = candidate.rounds or 1
    draws = stats.resample_rounds(rounds, np.random.default_rng([seed, 6]))
    times, base = (np.reshape(measurement.samples, (rounds, -1)) for measurement in (candidate, incumbent))
    return stats.ratio_of_medians(times, base, draws)


def fastest(report: Report, names: Sequence[str]) -> Choice:
    """The one of ``names`` that ships, in a report that measured their latency."""
    chosen = names[0]
    comparisons = []
    for name in names[1:]:
        challenger, incumbent = report.find(name, _METRIC), report.find(chosen, _METRIC)
        if challenger is None or incumbent is None:
            continue
        value, interval = ratio(challenger, incumbent, report.seed)
        spread = (
            f", {100 * interval.level:.0f} % {interval.low:.2f} to {interval.high:.2f}" if interval else ""
        )
        faster = interval is not None and interval.high < 1
        comparisons.append(
            f"{name} takes {value:.2f}x of {chosen}'s p50{spread}: {'faster' if faster else 'not faster'}"
        )
        chosen = name if faster else chosen
    return Choice(chosen, f"{chosen} ships ({'; '.join(comparisons)})")


def arrange(report: Report, names: Sequence[str]) -> Report:
    """The report with what ships as the last candidate, which gates judge, and the reason in it."""
    if not names:
        return report
    choice = fastest(report, names)
    ordered = sorted(report.candidates, key=lambda candidate: candidate.name == choice.name)
    return report.model_copy(update={"candidates": tuple(ordered), "choice": choice.reason})
