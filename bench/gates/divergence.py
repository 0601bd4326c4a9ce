"""How far the candidate's distributions may be from the baseline's on the evaluation rows, in nats a row."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from bench.gates import IntervalGateConfig, decide, missing
from bench.gates._changes import MORE_ROWS
from bench.record.limits import Number
from bench.record.model import Report, Verdict

PROBE = "divergence"


class Config(IntervalGateConfig):
    """Options, one of the two.

    Attributes:
        mean_at_most: such as ``0.01``.
        p99_at_most: of one row in a hundred.
    """

    mean_at_most: Number | None = None
    p99_at_most: Number | None = None

    @model_validator(mode="after")
    def _one(self) -> Any:
        if (self.mean_at_most is None) == (self.p99_at_most is None):
            raise ValueError("give one of mean_at_most and p99_at_most")
        return self


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the divergence is at most the limit."""
    metric = "divergence_mean" if config.mean_at_most is not None else "divergence_p99"
    limit = config.mean_at_most or config.p99_at_most
    if limit is None:
        raise ValueError("a divergence gate has a limit")
    measurement = report.find(candidate, metric)
    if measurement is None:
        return missing(report, "divergence", candidate, metric, limit.text, metric)
    text = f"{metric} {measurement.value:.3g} nats a row against '{report.baseline}'"
    if measurement.interval is not None:
        text += f" ({100 * measurement.interval.level:.0f} % interval {measurement.interval.low:.3g} to "
        text += f"{measurement.interval.high:.3g})"
    return decide(
        "divergence",
        candidate,
        metric,
        measurement.value,
        measurement.interval,
        limit,
        at_most=True,
        judge=config.judge,
        advice=MORE_ROWS,
        said=text,
    )
