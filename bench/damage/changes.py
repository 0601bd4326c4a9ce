"""From a paired change to a verdict: what the gates on damage share."""

from __future__ import annotations

from collections.abc import Mapping

from bench.gates import decide, missing
from bench.limits import Limit
from bench.record import Interval, Measurement, Report, Verdict


def losses(found: Measurement) -> tuple[float, Interval | None]:
    """How much worse a figure is than the baseline's, in points (or hundredths), with its interval."""
    sign = 100 if found.better == "lower" else -100
    interval = None
    if found.difference_interval is not None:
        ends = sorted((sign * found.difference_interval.low, sign * found.difference_interval.high))
        interval = Interval(low=ends[0], high=ends[1], level=found.difference_interval.level)
    return sign * (found.difference or 0.0) + 0.0, interval


def judge(
    report: Report,
    gate: str,
    candidate: str,
    metric: str,
    limit: Limit,
    *,
    wanted: str,
    named: str | None = None,
    only: Mapping[str, str | None] | None = None,
) -> Verdict:
    """The verdict on the worst change of a metric.

    Args:
        report: that holds it.
        gate: its name.
        candidate: that is judged.
        metric: to look for.
        limit: on the loss, in points.
        wanted: what is looked for, in words.
        named: the condition that says where the change is, for the reason.
        only: conditions that a figure must have; None for any.
    """
    conditions = {key: value for key, value in (only or {}).items() if value is not None}
    there = [
        one
        for one in report.measurements
        if (one.candidate, one.metric) == (candidate, metric)
        and one.difference is not None
        and one.unit != "error"  # of numbers, whose unit is the data's own and no share
        and conditions.items() <= one.conditions.items()
    ]
    if not there:
        at = f" ({', '.join(conditions.values())})" if conditions else ""
        return missing(report, gate, candidate, metric, limit.text, f"{wanted}{at}, as points,")
    found = max(there, key=lambda one: losses(one)[0])
    loss, interval = losses(found)
    where = f" ({found.conditions.get(named)})" if named else ""
    signed = loss if found.better == "lower" else -loss
    said = f"{metric}{where} {signed + 0.0:+.2f}pt against '{report.baseline}'"
    if interval is not None:
        ends = (interval.low, interval.high) if found.better == "lower" else (-interval.high, -interval.low)
        said += f" ({100 * interval.level:.4g} % interval {ends[0]:+.2f} to {ends[1]:+.2f})"
    return decide(gate, candidate, metric, loss, interval, limit, at_most=True, said=said)
