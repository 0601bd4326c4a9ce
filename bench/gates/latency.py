"""How long an inference may take: percentiles in time or as a multiple of the baseline's, or a speed-up."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bench.gates import GateConfig, decide, missing
from bench.limits import Duration, Limit, Times
from bench.record import Interval, Report, Verdict

PROBE = "latency"


class At(BaseModel):
    """Where in the grid.

    Attributes:
        batch_size: rows at once.
        length: tokens, or ``data`` for the evaluation rows' own mix.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = Field(default=1, ge=1)
    length: int | str = "data"

    @field_validator("length")
    @classmethod
    def _length(cls, value: int | str) -> int | str:
        if value != "data" and not (isinstance(value, int) and value >= 1):
            raise ValueError("a length is a number of tokens or the word 'data'")
        return value


class Config(GateConfig):
    """Options; at least one limit.

    Attributes:
        at: the point of the grid; one row at a time at the rows' own lengths when absent.
        p50_at_most: such as ``2ms``, or ``0.6x`` of the baseline's.
        p95_at_most: the same for the 95th percentile.
        p99_at_most: the same for the 99th percentile.
        speedup_at_least: such as ``4x``: how many times faster than the baseline at p50.
    """

    at: At = At()
    p50_at_most: Duration | None = None
    p95_at_most: Duration | None = None
    p99_at_most: Duration | None = None
    speedup_at_least: Times | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.p50_at_most or self.p95_at_most or self.p99_at_most or self.speedup_at_least):
            raise ValueError("give p50_at_most, p95_at_most, p99_at_most or speedup_at_least")
        return self


def _one(report: Report, candidate: str, at: At, metric: str, limit: Limit, *, speedup: bool) -> Verdict:
    where = f"batch {at.batch_size}, length {at.length}"
    found = report.find(candidate, metric, batch_size=at.batch_size, length=at.length)
    if found is None or (limit.relative and found.ratio is None):
        return missing(report, "latency", candidate, metric, limit.text, f"{metric} at {where}")
    value, interval = found.value, found.interval
    said = f"{metric.removesuffix('_ms').removeprefix('latency_')} {value:.3g} ms at {where}"
    if limit.relative:
        value, interval = found.ratio or 0.0, found.ratio_interval
        if speedup:
            value = 1 / value
            if interval is not None:
                interval = Interval(low=1 / interval.high, high=1 / interval.low, level=interval.level)
        said += f", {value:.3g}x {'as fast as' if speedup else 'of'} '{report.baseline}'"
        if interval is not None:
            said += f" ({100 * interval.level:.0f} % interval {interval.low:.3g} to {interval.high:.3g})"
    return decide("latency", candidate, metric, value, interval, limit, at_most=not speedup, said=said)


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when every limit holds; otherwise the first one that does not."""
    upper = (
        ("latency_p50_ms", config.p50_at_most),
        ("latency_p95_ms", config.p95_at_most),
        ("latency_p99_ms", config.p99_at_most),
    )
    verdicts = [
        _one(report, candidate, config.at, metric, limit, speedup=False)
        for metric, limit in upper
        if limit is not None
    ]
    if config.speedup_at_least is not None:
        verdicts.append(
            _one(report, candidate, config.at, "latency_p50_ms", config.speedup_at_least, speedup=True)
        )
    worst = next((one for one in verdicts if one.status != "pass"), verdicts[0])
    return worst.model_copy(
        update={
            "limit": ", ".join(one.limit for one in verdicts) if worst.status == "pass" else worst.limit,
            "reason": ". ".join(one.reason for one in verdicts),
        }
    )
