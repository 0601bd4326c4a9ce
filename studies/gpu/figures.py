"""From a report of the product to what the record keeps of it, and to what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.record.model import Report
from studies.gpu.plan import Expected

Figure = Mapping[str, Any]


def of(report: Report) -> list[dict[str, Any]]:
    """Every figure of a report without its samples; what a figure does not have is left out."""
    fields = ("candidate", "metric", "value", "unit", "interval", "ratio", "ratio_interval", "difference",
            "difference_interval", "conditions", "notes")  # fmt: skip
    figures = []
    for measurement in report.measurements:
        tree = measurement.model_dump(mode="json", include=set(fields), exclude_defaults=True)
        figures.append({**tree, "flags": list(measurement.flags.raised)})
    return figures


def matching(figures: Iterable[Figure], candidate: str, metric: str, **conditions: int | str) -> list[Figure]:
    """The figures of a metric that were measured under some conditions, others left open."""
    return [
        figure
        for figure in figures
        if (figure["candidate"], figure["metric"]) == (candidate, metric)
        and conditions.items() <= figure.get("conditions", {}).items()
    ]


def lacking(figures: Iterable[Figure], expects: Iterable[Expected]) -> list[str]:
    """What a report should hold and does not, in words."""
    present = list(figures)
    return [
        str(figure)
        for figure in expects
        if not matching(present, figure.candidate, figure.metric, **figure.conditions)
    ]
