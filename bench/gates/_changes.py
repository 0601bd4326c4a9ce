"""From a paired change to a verdict: what the gates on damage share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from bench.gates import decide, missing
from bench.record.limits import Limit
from bench.record.model import Interval, Measurement, Report, Verdict
from bench.verdicts.decision import Judge

MORE_ROWS = "more evaluation rows would tell"
# From the best to the worst.
_WORSE = ("pass", "anomalous", "inconclusive", "fail")


def losses(measurement: Measurement) -> tuple[float, Interval | None]:
    """How much worse a figure is than the baseline's, in points (or hundredths), with its interval."""
    sign = 100 if measurement.better == "lower" else -100
    interval = None
    if measurement.difference_interval is not None:
        ends = sorted(
            (sign * measurement.difference_interval.low, sign * measurement.difference_interval.high)
        )
        interval = Interval(low=ends[0], high=ends[1], level=measurement.difference_interval.level)
    return sign * (measurement.difference or 0.0) + 0.0, interval


def gate(
    name: str,
    metric: str | Callable[[Any], str],
    limit: str,
    description: str,
    *,
    named: str | None = None,
    only: Sequence[str] = (),
    against: str | None = None,
) -> Callable[[Report, str, Any], Verdict]:
    """The check of a gate on changes of a metric.

    It gives the worst verdict on them: no sure loss hides behind a larger one that is not.

    Args:
        name: of the gate.
        metric: to look for, or what its options make of it.
        limit: its option with the limit on the loss, in points.
        description: what is looked for, in words.
        named: the condition that says where the change is, for the reason.
        only: options that a figure's conditions of the same name must have, where they are given.
        against: what a figure is held against, where that is not the baseline.
    """

    def check(report: Report, candidate: str, config: Any) -> Verdict:
        """Pass when the loss is at most the limit."""
        looked_for = metric if isinstance(metric, str) else metric(config)
        most: Limit = getattr(config, limit)
        conditions = {key: getattr(config, key) for key in only if getattr(config, key) is not None}
        changes = [
            measurement
            for measurement in report.measurements
            if (measurement.candidate, measurement.metric) == (candidate, looked_for)
            and measurement.difference is not None
            and measurement.unit != "error"  # of numbers, whose unit is the data's own and no share
            and conditions.items() <= measurement.conditions.items()
        ]
        if not changes:
            at = f" ({', '.join(conditions.values())})" if conditions else ""
            phrase = description.format(metric=looked_for)
            return missing(report, name, candidate, looked_for, most.text, f"{phrase}{at}, as points,")
        verdicts = [
            _settle(
                name,
                candidate,
                looked_for,
                most,
                measurement,
                named,
                config.judge,
                against or f"'{report.baseline}'",
            )
            for measurement in changes
        ]
        return max(verdicts, key=lambda verdict: (_WORSE.index(verdict.status), verdict.value))

    return check


def _settle(
    name: str,
    candidate: str,
    metric: str,
    limit: Limit,
    measurement: Measurement,
    named: str | None,
    judge: Judge,
    against: str,
) -> Verdict:
    """The verdict on one change."""
    loss, interval = losses(measurement)
    place = f" ({measurement.conditions.get(named)})" if named else ""
    signed = loss if measurement.better == "lower" else -loss
    text = f"{metric}{place} {signed + 0.0:+.2f}pt against {against}"
    if interval is not None:
        ends = (
            (interval.low, interval.high)
            if measurement.better == "lower"
            else (-interval.high, -interval.low)
        )
        text += f" ({100 * interval.level:.4g} % interval {ends[0]:+.2f} to {ends[1]:+.2f})"
    return decide(
        name,
        candidate,
        metric,
        loss,
        interval,
        limit,
        at_most=True,
        said=text,
        judge=judge,
        unchanged=0.0,
        advice=MORE_ROWS,
    )
