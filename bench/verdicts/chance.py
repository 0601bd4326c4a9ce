"""A baseline that answers no better than one that gives every row the same answer.

Baseline and candidate may share a fault: a head that was never trained, labels in another order. They then
agree with each other, and no comparison can see it. The share of the commonest class can: a baseline that is
at or below it has learned nothing that these rows show, and whatever is said against it means nothing.
"""

from __future__ import annotations

from bench.record.model import Measurement, Report, Verdict
from compress import catalog, tasks
from compress.errors import EntryError, UnknownName

GATE = "chance"
OPTION = "allow_chance"


def found(report: Report) -> Measurement | None:
    """The baseline's main metric where it is at or below a constant answer's; None where it is above."""
    for measurement in report.measurements:
        if measurement.candidate == report.baseline and measurement.blind is not None:
            return measurement if tasks.at_chance(measurement.value, measurement.blind) else None
    return None


def allowed(report: Report) -> bool:
    """Whether the recipe takes such a baseline all the same."""
    return report.config.allow_chance


def sentences(report: Report) -> list[str]:
    """What the reader of a report must know of its baseline; empty where it is above chance."""
    measurement = found(report)
    if measurement is None or measurement.blind is None:
        return []

    def shown(value: float) -> str:
        return f"{100 * value:.2f} %" if measurement.unit == "share" else f"{value:.4f}"

    suffix = f" (taken all the same: bench.{OPTION})" if allowed(report) else ""
    return [
        f"The baseline '{report.baseline}' is no better than chance: {measurement.metric} "
        f"{shown(measurement.value)}, and {_constant(report.task, measurement.metric)} is "
        f"{shown(measurement.blind)} of these rows. Its head may be untrained, or its labels in "
        f"another order than the data's; figures against it say nothing{suffix}"
    ]


def _constant(task: str, metric: str) -> str:
    """What a model that answers every row alike gets, in words; in general where the task is not here."""
    try:
        return tasks.metric(catalog.task(task), metric).blind
    except (UnknownName, EntryError):
        return tasks.Metric(metric).blind


def verdict(report: Report) -> Verdict | None:
    """An anomaly where the baseline is at chance and nobody allowed that."""
    measurement = found(report)
    if measurement is None or measurement.blind is None or allowed(report):
        return None
    return Verdict(
        gate=GATE,
        candidate=report.baseline,
        status="anomalous",
        metric=measurement.metric,
        value=measurement.value,
        interval=measurement.interval,
        limit=f"above {measurement.blind:.4g}",
        reason=f"{sentences(report)[0]}; where that is meant, say bench.{OPTION}: true (--allow-chance)",
    )
