"""How far a metric of the task may fall below the baseline's, in percentage points of the same rows."""

from __future__ import annotations

from bench.gates import GateConfig, decide, missing
from bench.limits import Points
from bench.record import Interval, Report, Verdict

PROBE = "accuracy"


class Config(GateConfig):
    """Options.

    Attributes:
        metric: of the task; its main one when absent.
        at_most: the drop that is allowed, such as ``0.5pt``.
    """

    metric: str | None = None
    at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when baseline minus candidate is at most the limit; a gain is a drop below zero."""
    scores = [one for one in report.measurements if one.probe == PROBE and one.candidate == candidate]
    if config.metric is not None:
        scores = [one for one in scores if one.metric == config.metric]
    metric = config.metric or (scores[0].metric if scores else "the task's main metric")
    if not scores or scores[0].difference is None:
        return missing(
            report, "accuracy-drop", candidate, metric, config.at_most.text, f"the difference in {metric}"
        )
    found = scores[0]
    sign = 100 if found.better == "lower" else -100
    drop = sign * (found.difference or 0.0)
    interval = None
    said = f"{metric} {-drop:+.2f}pt against '{report.baseline}'"
    if found.difference_interval is not None:
        ends = sorted((sign * found.difference_interval.low, sign * found.difference_interval.high))
        interval = Interval(low=ends[0], high=ends[1], level=found.difference_interval.level)
        said += f" ({100 * interval.level:.0f} % interval {-ends[1]:+.2f} to {-ends[0]:+.2f})"
    return decide(
        "accuracy-drop", candidate, metric, drop + 0.0, interval, config.at_most, at_most=True, said=said
    )
