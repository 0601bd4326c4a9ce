"""A hand-made report on a machine of its own, changes of it, and what the gate against a stored one says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_bench

from bench.record.model import Interval, Report, Verdict
from bench.verdicts import baselines, judge
from compress.recipe import Named

MACHINE = {"cpu": "a processor", "cpus": "2", "torch": "2.13", "onnxruntime": "1.32", "python": "3.11"}
DATA = {"source": "somewhere", "rows": 100, "fingerprint": "f" * 64}


def measured(**changes: Any) -> Report:
    """The hand-made report on a machine and rows that can be told apart."""
    return tiny_bench.report(**{"environment": MACHINE, "data": DATA, **changes})


def scaled(report: Report, metric: str, factor: float, candidate: str = "after") -> Report:
    """The report with a figure, its interval and its ratio multiplied."""

    def times(interval: Interval | None) -> Interval | None:
        return interval and Interval(low=interval.low * factor, high=interval.high * factor)

    changed = tuple(
        measurement.model_copy(
            update={
                "value": measurement.value * factor,
                "interval": times(measurement.interval),
                "ratio": measurement.ratio and measurement.ratio * factor,
                "ratio_interval": times(measurement.ratio_interval),
            }
        )
        if (measurement.candidate, measurement.metric) == (candidate, metric)
        else measurement
        for measurement in report.measurements
    )
    return report.model_copy(update={"measurements": changed})


def narrow(report: Report) -> Report:
    """The report with intervals of 1 % around ratios and values."""

    def around(value: float | None) -> Interval | None:
        return None if value is None else Interval(low=value * 0.99, high=value * 1.01)

    changed = tuple(
        measurement.model_copy(
            update={"interval": around(measurement.value), "ratio_interval": around(measurement.ratio)}
        )
        if measurement.probe == "latency"
        else measurement
        for measurement in report.measurements
    )
    return report.model_copy(update={"measurements": changed})


def judged(new: Report, place: Path, **options: Any) -> Verdict:
    """The verdict of the regression gate."""
    gate = Named(name="regression", options={"baseline": str(place), "worse_by_at_most": "5%", **options})
    (verdict,) = judge.judge(new, [gate]).verdicts
    return verdict


def kept(folder: Path) -> Path:
    """The folder, with a baseline of the machine in it."""
    baselines.save(narrow(measured()), str(folder))
    return folder
