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


def losses(found: Measurement) -> tuple[float, Interval | None]:
    """How much worse a figure is than the baseline's, in points (or hundredths), with its interval."""
    sign = 100 if found.better == "lower" else -100
    interval = None
    if found.difference_interval is not None:
        ends = sorted((sign * found.difference_interval.low, sign * found.difference_interval.high))
        interval = Interval(low=ends[0], high=ends[1], level=found.difference_interval.level)
    return sign * (found.difference or 0.0) + 0.0, interval


def gate(
    name: str,
    metric: str | Callable[[Any], str],
    limit: str,
    wanted: str,
    *,
    named: str | None = None,
    only: Sequence[str] = (),
) -> Callable[[Report, str, Any], Verdict]:
    """The check of a gate on changes of a metric.

    It gives the worst verdict on them: no sure loss hides behind a larger one that is not.

    Args:
        name: of the gate.
        metric: to look for, or what its options make of it.
        limit: its option with the limit on the loss, in points.
        wanted: what is looked for, in words.
        named: the condition that says where the change is, for the reason.
        only: options that a figure's conditions of the same name must have, where they are given.
    """

    def check(report: Report, candidate: str, config: Any) -> Verdict:
        """Pass when the loss is at most the limit."""
        looked_for = metric if isinstance(metric, str) else metric(config)
        most: Limit = getattr(config, limit)
        conditions = {key: getattr(config, key) for key in only if getattr(config, key) is not None}
        there = [
            one
            for one in report.measurements
            if (one.candidate, one.metric) == (candidate, looked_for)
            and one.difference is not None
            and one.unit != "error"  # of numbers, whose unit is the data's own and no share
            and conditions.items() <= one.conditions.items()
        ]
        if not there:
            at = f" ({', '.join(conditions.values())})" if conditions else ""
            what = wanted.format(metric=looked_for)
            return missing(report, name, candidate, looked_for, most.text, f"{what}{at}, as points,")
        verdicts = [
            _settle(report, name, candidate, looked_for, most, one, named, config.judge) for one in there
        ]
        return max(verdicts, key=lambda one: (_WORSE.index(one.status), one.value))

    return check


def _settle(
    report: Report,
    name: str,
    candidate: str,
    metric: str,
    limit: Limit,
    found: Measurement,
    named: str | None,
    how: Judge,
) -> Verdict:
    """The verdict on one change."""
    loss, interval = losses(found)
    where = f" ({found.conditions.get(named)})" if named else ""
    signed = loss if found.better == "lower" else -loss
    said = f"{metric}{where} {signed + 0.0:+.2f}pt against '{report.baseline}'"
    if interval is not None:
        ends = (interval.low, interval.high) if found.better == "lower" else (-interval.high, -interval.low)
        said += f" ({100 * interval.level:.4g} % interval {ends[0]:+.2f} to {ends[1]:+.2f})"
    return decide(
        name,
        candidate,
        metric,
        loss,
        interval,
        limit,
        at_most=True,
        said=said,
        judge=how,
        unchanged=0.0,
        advice=MORE_ROWS,
    )
