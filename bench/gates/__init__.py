"""What a gate is: it turns a report into a verdict and measures nothing.

A gate is a module in this folder. It decides by ``bench.verdicts.decision``, from a figure and its
interval. What is missing in the report fails, with a list of what there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from bench.record.model import Interval, Report, Status, Verdict
from bench.verdicts import decision
from bench.verdicts.decision import Judge
from compress.contract import optional
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.record.limits import Limit


class GateConfig(Strict):
    """The base of every gate's options.

    Attributes:
        candidate: that is judged; the last one of the report, which ships, when absent.
    """

    candidate: str | None = None


class IntervalGateConfig(GateConfig):
    """The base of the options of a gate whose figure has an interval.

    Attributes:
        judge: ``interval`` passes when the whole interval is within the limit, and is inconclusive when it
            straddles it; ``point`` takes the figure as if it were exact.
    """

    judge: Judge = "interval"


class Gate(Protocol):
    """The names that a gate module defines.

    A ``Config`` may have a property ``probe`` where its options choose the probe.

    Attributes:
        Config: its limit (with its unit) and what it looks at.
        PROBE: the probe whose figures it reads; None where it reads facts of the artifact.
    """

    Config: type[GateConfig]
    PROBE: str | None

    @staticmethod
    def check(report: Report, candidate: str, config: Any) -> Verdict:
        """The verdict on one candidate; ratios refer to ``report.baseline``."""
        ...

    @staticmethod
    @optional
    def ready(config: Any, environment: Mapping[str, str]) -> str | None:
        """What will leave the verdict open, before anything is measured; None where it has what it needs.

        Raises:
            UserError: what it needs beyond the report is not there.
        """
        return None

    @staticmethod
    @optional
    def comparable(report: Report, candidate: str, config: Any) -> None:
        """Refuse a report of which machine, rows and candidates are known and nothing is measured yet.

        Raises:
            UserError: it could not be compared with what the gate compares it with.
        """


def missing(report: Report, gate: str, candidate: str, metric: str, limit: str, wanted: str) -> Verdict:
    """The verdict where there is nothing to judge: fail, with a list of what was measured.

    Args:
        report: that was searched.
        gate: its name.
        candidate: that should have been judged.
        metric: that was looked for.
        limit: as written.
        wanted: what was looked for, in words.
    """
    measured: dict[str, None] = {}
    for measurement in report.measurements:
        if measurement.candidate == candidate:
            at = ", ".join(f"{key} {value}" for key, value in measurement.conditions.items())
            measured[f"{measurement.metric} ({at})" if at else measurement.metric] = None
    listed = "; ".join(measured) or "nothing"
    return Verdict(
        gate=gate,
        candidate=candidate,
        status="fail",
        metric=metric,
        value=None,
        interval=None,
        limit=limit,
        reason=f"{wanted} was not measured for '{candidate}', and what is missing fails; measured: {listed}",
    )


def decide(
    gate: str,
    candidate: str,
    metric: str,
    value: float,
    interval: Interval | None,
    limit: Limit,
    *,
    at_most: bool,
    said: str,
    judge: Judge = "interval",
    unchanged: float | None = None,
    distrust: str | None = None,
    widened: bool = False,
    spoiled: str | None = None,
    advice: str = "",
    anomaly: str | None = None,
) -> Verdict:
    """The verdict on a figure that is there.

    Args:
        gate: its name.
        candidate: that is judged.
        metric: that was looked at.
        value: found, in the limit's base unit.
        interval: of the value.
        limit: to hold.
        at_most: whether the limit is an upper one.
        said: the figure in words.
        judge: by the interval or by the point.
        unchanged: the figure of "no change", where the limit is a tolerance around it.
        distrust: why the measurement cannot carry a pass, where it cannot.
        widened: whether the interval counts what others took.
        spoiled: why it counts for nothing, where it does not.
        advice: what would settle it, said where it is inconclusive.
        anomaly: why the figure cannot be believed, whatever the limit says.
    """
    status: Status = decision.settle(
        value,
        interval,
        limit.value,
        at_most=at_most,
        unchanged=unchanged,
        judge=judge,
        trusted=distrust is None,
        widened=widened,
        spoiled=spoiled is not None,
    )
    side = "at most" if at_most else "at least"
    reason = f"{said}; allowed: {side} {limit.text}"
    if anomaly is not None:
        status, reason = "anomalous", f"{reason}; not to be believed: {anomaly}"
    elif status == "inconclusive":
        passes = decision.settle(value, interval, limit.value, at_most=at_most, unchanged=unchanged) == "pass"
        explanation = distrust if passes and distrust else "the interval does not tell"
        if spoiled is not None:
            explanation = f"the run was spoiled and does not count: {spoiled}"
        reason = f"{reason}; {explanation}" + (f"; {advice}" if advice else "")
    return Verdict(
        gate=gate,
        candidate=candidate,
        status=status,
        metric=metric,
        value=value,
        interval=interval,
        limit=limit.text,
        reason=reason,
    )
