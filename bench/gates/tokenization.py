"""How much more of the evaluation rows a candidate's tokenizer may not know, and how much longer they may be.

Both are against the baseline's tokenizer; rows that the length limit then cuts are the gate ``truncation``'s.
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from bench.gates import IntervalGateConfig, decide, missing
from bench.gates._changes import MORE_ROWS, gate
from bench.record.limits import Points, Share
from bench.record.model import Report, Verdict

PROBE = "tokenization"


class Config(IntervalGateConfig):
    """Options, one of the three limits.

    Attributes:
        unknown_rise_at_most: by which the share of unknown pieces may rise, such as ``0.1pt``.
        growth_at_most: share by which all rows together may get longer in pieces, such as ``5%``.
        p95_growth_at_most: share by which 95 % of the rows may get longer at most.
    """

    unknown_rise_at_most: Points | None = None
    growth_at_most: Share | None = None
    p95_growth_at_most: Share | None = None

    @model_validator(mode="after")
    def _one(self) -> Any:
        limits = (self.unknown_rise_at_most, self.growth_at_most, self.p95_growth_at_most)
        if sum(limit is not None for limit in limits) != 1:
            raise ValueError("give one of unknown_rise_at_most, growth_at_most and p95_growth_at_most")
        return self


_unknown = gate("tokenization", "unknown_pieces", "unknown_rise_at_most", "the change in {metric}")


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the rise or the growth is at most the limit."""
    if config.unknown_rise_at_most is not None:
        return _unknown(report, candidate, config)
    tail = config.p95_growth_at_most is not None
    metric = "length_growth_p95" if tail else "length_growth"
    limit = config.p95_growth_at_most or config.growth_at_most
    if limit is None:
        raise ValueError("a gate on tokenization has a limit")
    measurement = report.find(candidate, metric)
    if measurement is None:
        return missing(report, "tokenization", candidate, metric, limit.text, metric)
    text = "95 % of the rows grow by at most" if tail else "all rows together grow by"
    text += f" {100 * measurement.value:+.2f} % in pieces against '{report.baseline}'"
    interval = measurement.interval
    if interval is not None:
        text += f" ({100 * interval.level:.0f} % interval {100 * interval.low:+.2f} to "
        text += f"{100 * interval.high:+.2f})"
    return decide(
        "tokenization",
        candidate,
        metric,
        measurement.value,
        interval,
        limit,
        at_most=True,
        said=text,
        judge=config.judge,
        unchanged=0.0,
        advice=MORE_ROWS,
    )
