"""How long an inference may take: percentiles in time or as a multiple of the baseline's, or a speed-up.

Judged by the interval (see ``bench.verdicts.decision``). Where other processes took much CPU time from the
timed runs, the interval is widened by it before it judges; where they took a little, an interval that barely
holds is not believed: it is taken twice as wide. A speed-up that no compression gives,
or a baseline that changed its own speed while it was measured, is anomalous.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from bench.gates import IntervalGateConfig, decide, missing
from bench.lanes import noise
from bench.record.limits import Duration, Limit, Times
from bench.record.model import Interval, Measurement, Report, Verdict
from bench.statistics import stats
from bench.verdicts import decision
from compress.strict import Strict

PROBE = "latency"
# Two halves of a run: the baseline's own speed changed by more than this, and the ratio with it.
_MOVED, _RATIO_MOVED = 0.25, 0.15
# Of fewer rounds medians are not enough: where four only vary, one half lies wholly above the other in every
# third run; where ten do, in 2 of (10 choose 5). There the spread of the rounds has to exclude chance too.
_FEW_ROUNDS, _BY_CHANCE = 10, 0.01


class At(Strict):
    """Where in the grid.

    Attributes:
        batch_size: rows at once.
        length: tokens, or ``data`` for the evaluation rows' own mix.
    """

    batch_size: int = Field(default=1, ge=1, le=65_536)
    length: Annotated[int, Field(ge=1, le=10**6)] | str = "data"

    @field_validator("length")
    @classmethod
    def _length(cls, value: int | str) -> int | str:
        if isinstance(value, str) and value != "data":
            raise ValueError("a length is a number of tokens or the word 'data'")
        return value


class Config(IntervalGateConfig):
    """Options; at least one limit.

    Attributes:
        at: the point of the grid; one row at a time at the rows' own lengths when absent.
        p50_at_most: such as ``2ms``, or ``0.6x`` of the baseline's.
        p95_at_most: the same for the 95th percentile.
        p99_at_most: the same for the 99th percentile.
        p99_9_at_most: the same for the 99.9th percentile, which needs 5,000 runs.
        speedup_at_least: such as ``4x``: how many times faster than the baseline at p50.
        implausible_speedup: a median faster than the baseline's by more than this is anomalous.
    """

    at: At = At()
    p50_at_most: Duration | None = None
    p95_at_most: Duration | None = None
    p99_at_most: Duration | None = None
    p99_9_at_most: Duration | None = None
    speedup_at_least: Times | None = None
    implausible_speedup: Times = Limit("100x", 100.0, "x")

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.limits or self.speedup_at_least):
            raise ValueError("give p50_at_most, p95_at_most, p99_at_most, p99_9_at_most or speedup_at_least")
        return self

    @property
    def limits(self) -> list[tuple[str, Limit]]:
        """The metrics that have an upper limit."""
        upper = (
            ("latency_p50_ms", self.p50_at_most),
            ("latency_p95_ms", self.p95_at_most),
            ("latency_p99_ms", self.p99_at_most),
            ("latency_p99.9_ms", self.p99_9_at_most),
        )
        return [(metric, limit) for metric, limit in upper if limit is not None]


def baseline_moved(candidate: Measurement | None, base: Measurement | None) -> str | None:
    """Whether the baseline changed its speed half way and the candidate did not go along; in words.

    Args:
        candidate: the candidate's median with its samples.
        base: the baseline's, of the same rounds, of which it takes four.
    """
    if (
        candidate is None
        or base is None
        or not (candidate.rounds and candidate.rounds == base.rounds and candidate.rounds >= 4)
    ):
        return None
    mine, theirs = (
        np.array(measurement.samples).reshape(measurement.rounds or 1, -1)
        for measurement in (candidate, base)
    )
    ratios = np.median(mine, axis=1, keepdims=True) / np.median(theirs, axis=1, keepdims=True)
    moved, ratio = stats.drift(theirs), stats.drift(ratios)
    if abs(moved) <= _MOVED or abs(ratio) <= _RATIO_MOVED:
        return None
    if candidate.rounds < _FEW_ROUNDS and max(map(stats.drift_by_chance, (theirs, ratios))) > _BY_CHANCE:
        return None
    return (
        f"the baseline itself changed by {100 * moved:+.0f} % half way through and the ratio by "
        f"{100 * ratio:+.0f} %: measure again on a machine at rest"
    )


def _inverse(interval: Interval) -> Interval:
    """Of a speed-up where the interval is of the ratio of times, and the other way round."""
    return interval.model_copy(update={"low": 1 / interval.high, "high": 1 / interval.low})


def _distrust(
    measurement: Measurement, interval: Interval | None, limit: Limit, *, speedup: bool
) -> str | None:
    """Why a pass is not believed: it is close, and others took CPU time, if too little to widen it by.

    Judged of times: twice an interval of speed-ups would soon go below 0, and ``4x`` as fast would not be
    judged as ``0.25x`` of the time.

    Args:
        measurement: of the candidate.
        interval: as measured, not widened by what others took.
        limit: to hold.
        speedup: whether interval and limit are of a speed-up.
    """
    if measurement.disturbed is None or interval is None:
        return None
    times, allowed = (_inverse(interval), 1 / limit.value) if speedup else (interval, limit.value)
    if decision.within(noise.least_margin(times, measurement.disturbed), allowed):
        return None
    share = f"{100 * measurement.disturbed:.0f} %"
    return f"other processes took {share} of the timed seconds, too much for so narrow a pass"


def _one(
    report: Report, candidate: str, config: Config, metric: str, limit: Limit, *, speedup: bool
) -> Verdict:
    at = config.at
    point: dict[str, int | str] = {"batch_size": at.batch_size, "length": at.length}
    place = f"batch {at.batch_size}, length {at.length}"
    measurement = report.find(candidate, metric, **point)
    if measurement is None or (limit.relative and measurement.ratio is None):
        return missing(report, "latency", candidate, metric, limit.text, f"{metric} at {place}")
    value, interval = measurement.value, measurement.interval
    text = f"{metric.removesuffix('_ms').removeprefix('latency_')} {value:.3g} ms at {place}"
    unchanged = anomaly = None
    if limit.relative:
        value, interval = measurement.ratio or 0.0, measurement.ratio_interval
        median = report.find(candidate, "latency_p50_ms", **point)
        anomaly = baseline_moved(median, report.find(report.baseline, "latency_p50_ms", **point))
        if value < 1 / config.implausible_speedup.value:
            anomaly = (
                f"{1 / value:.3g}x as fast, above {config.implausible_speedup.text} (implausible_speedup)"
            )
        unchanged = decision.unchanged_ratio(1 / limit.value if speedup else limit.value)
        if speedup:
            value = 1 / value
            if interval is not None:
                interval = _inverse(interval)
        text += f", {value:.3g}x {'as fast as' if speedup else 'of'} '{report.baseline}'"
    distrust = _distrust(measurement, interval, limit, speedup=speedup)
    widened = False
    if interval is not None:
        text += f" ({100 * interval.level:.0f} % interval {interval.low:.3g} to {interval.high:.3g})"
        counted = noise.widened(interval, measurement.disturbed)
        if counted != interval:
            share = f"{100 * (measurement.disturbed or 0):.0f} %"
            text += (
                f"; others had the CPU for {share} of the timed seconds, all of which may have been one "
                f"side's: it counts as {counted.low:.3g} to {counted.high:.3g}"
            )
            interval, widened, distrust = counted, True, None  # all that others took is in it
    return decide(
        "latency",
        candidate,
        metric,
        value,
        interval,
        limit,
        at_most=not speedup,
        said=text,
        judge=config.judge,
        unchanged=unchanged,
        distrust=distrust,
        widened=widened,
        spoiled=measurement.flags.spoiled,
        advice="more rounds on a machine at rest would narrow it",
        anomaly=anomaly,
    )


_ORDER = ("fail", "anomalous", "inconclusive", "pass")


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when every limit holds; otherwise the worst verdict, with the reasons of all."""
    verdicts = [
        _one(report, candidate, config, metric, limit, speedup=False) for metric, limit in config.limits
    ]
    if config.speedup_at_least is not None:
        verdicts.append(
            _one(report, candidate, config, "latency_p50_ms", config.speedup_at_least, speedup=True)
        )
    worst = min(verdicts, key=lambda verdict: _ORDER.index(verdict.status))
    return worst.model_copy(
        update={
            "limit": ", ".join(verdict.limit for verdict in verdicts)
            if worst.status == "pass"
            else worst.limit,
            "reason": ". ".join(verdict.reason for verdict in verdicts),
        }
    )
