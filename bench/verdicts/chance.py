"""A baseline that answers no better than one that gives every row the same answer.

Baseline and candidate may share a fault: a head that was never trained, labels in another order. They then
agree with each other, and no comparison can see it. The share of the commonest class can: a baseline that is
at or below it has learned nothing that these rows show, and whatever is said against it means nothing.
"""

from __future__ import annotations

from bench import probes
from bench.record.model import Measurement, Report, Verdict
from compress import quantities, tasks

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

    suffix = f" (taken all the same: bench.{OPTION})" if allowed(report) else ""
    return [
        f"The baseline '{report.baseline}' is no better than chance: {measurement.metric} "
        f"{quantities.figure(measurement.value, measurement.unit)}, and "
        f"{probes.task_metric(report.task, measurement.metric).blind} is "
        f"{quantities.figure(measurement.blind, measurement.unit)} of these rows. Its head may be untrained, "
        f"or its labels in another order than the data's; figures against it say nothing{suffix}"
    ]


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
        limit=f"above {quantities.figure(measurement.blind, measurement.unit)}",
        reason=f"{sentences(report)[0]}; where that is meant, say bench.{OPTION}: true (--allow-chance)",
    )
