"""How far a metric of the task may fall below the baseline's, in percentage points of the same rows.

Judged on the bound: "at most 1 point lost" passes when the whole interval of the loss is at most 1 point,
fails when the loss is more and real (its interval excludes none), and is inconclusive otherwise; it
then says how many evaluation rows would be enough.
"""

from __future__ import annotations

from bench.gates import IntervalGateConfig, decide, missing
from bench.gates._changes import losses
from bench.record.limits import Limit, Points
from bench.record.model import Interval, Measurement, Report, Verdict
from bench.statistics import paired

PROBE = "accuracy"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        metric: of the task; its main one when absent.
        at_most: the drop that is allowed, such as ``0.5pt``.
        implausible_gain: a gain above this, and surely above none, is anomalous: compression rarely helps
            so much, and a leak or a mix-up of labels often looks so.
    """

    metric: str | None = None
    at_most: Points
    implausible_gain: Points = Limit("5pt", 5.0, "pt")


def rows_advice(measurement: Measurement, drop: float, interval: Interval | None, limit: float) -> str:
    """How many rows would settle it, in a sentence; empty where nothing can be said.

    Args:
        measurement: the metric.
        drop: in points.
        interval: of the drop, in points.
        limit: in points.
    """
    rows = measurement.conditions.get("rows")
    if interval is None or not isinstance(rows, int) or measurement.unit != "share":
        return ""
    if measurement.paired is not None:
        differing = measurement.paired.worse + measurement.paired.better
        # One row more than seen: with few of them, the observed share is more often too small than too large.
        share = (differing + 1) / rows if differing else 0.0
        variance = max(0.0, share - (drop / 100) ** 2)
    else:
        variance = rows * ((interval.high - interval.low) / 100 / (2 * 1.96)) ** 2
    needed = paired.rows_enough(drop / 100, limit / 100, variance, interval.level)
    if needed is None:
        return f"no number of rows settles a drop that is the limit ({rows} were measured)"
    if needed <= rows:
        return f"{rows} rows were measured: the figure lies near the limit, and more rows would settle it"
    return f"about {needed} evaluation rows would be enough ({rows} were measured)"


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Judge baseline minus candidate by its interval; a gain is a drop below zero."""
    scores = [
        measurement
        for measurement in report.measurements
        if measurement.probe == PROBE and measurement.candidate == candidate
    ]
    if config.metric is not None:
        scores = [measurement for measurement in scores if measurement.metric == config.metric]
    metric = config.metric or (scores[0].metric if scores else "the task's main metric")
    if not scores or scores[0].difference is None:
        return missing(
            report, "accuracy-drop", candidate, metric, config.at_most.text, f"the difference in {metric}"
        )
    score = scores[0]
    drop, interval = losses(score)
    text = f"{metric} {0.0 - drop:+.2f}pt against '{report.baseline}'"
    if interval is not None:
        low, high = 0.0 - interval.high, 0.0 - interval.low
        text += f" ({100 * interval.level:.0f} % interval {low:+.2f} to {high:+.2f}"
        if score.paired is not None:
            text += (
                f"; {score.paired.better} rows better, {score.paired.worse} worse, "
                f"McNemar p = {score.paired.p_value:.2g}"
            )
        text += ")"
    gain = config.implausible_gain
    leaps = -drop > gain.value and (interval is None or interval.high < 0)
    return decide(
        "accuracy-drop",
        candidate,
        metric,
        drop,
        interval,
        config.at_most,
        at_most=True,
        said=text,
        judge=config.judge,
        unchanged=0.0,
        advice=rows_advice(score, drop, interval, config.at_most.value),
        anomaly=f"a gain above {gain.text} (implausible_gain): look for a leak or mixed-up labels"
        if leaps
        else None,
    )
