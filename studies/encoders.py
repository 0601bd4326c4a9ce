"""What was judged of each kind of encoder, as one table made from the recorded reports.

Each ``studies/results/encoders/NAME.json`` is the report of one interleaved run that compares a model with
what ``paredown`` made of it. Its gates say what was asked, and its verdicts what came of that: a goal that
was missed stands in the table as missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.record import document
from bench.record.model import Report, Verdict
from bench.report import summary

RESULTS = Path("studies", "results", "encoders")
HEADER = (
    "record",
    "task",
    "rows",
    "figure",
    "original",
    "small",
    "change (95 %)",
    "times faster (95 %)",
    "bytes",
    "goals",
)
_RIGHT = frozenset({"rows", "original", "small", "change (95 %)", "times faster (95 %)", "bytes"})
NONE = "No report is recorded."


def read(folder: Path) -> dict[str, Report]:
    """The reports of a folder by the names of their files, in order.

    Raises:
        ReportError: a file that is no report, or whose bytes are not those that were sealed.
    """
    return {path.stem: document.read(path, must_be_sealed=True) for path in sorted(folder.glob("*.json"))}


def judged(report: Report) -> list[str]:
    """The candidates that gates spoke of, in their order; what ships where none did."""
    names = {verdict.candidate for verdict in report.verdicts}
    return [entry.name for entry in report.candidates if entry.name in names] or [summary.shipped(report)]


def _goal(verdict: Verdict) -> str:
    return f"{verdict.gate} {verdict.limit}: {summary.STATUS_WORDS[verdict.status]}"


def row(name: str, report: Report, candidate: str) -> list[str]:
    """The cells of a candidate, as ``HEADER`` names them."""
    figures = summary.figures(report)
    main = summary.main_metric(report) or next((metric for metric in figures if metric == "agreement"), None)
    timed = summary.timed(report)
    baseline = report.baseline or report.candidates[0].name

    def cells(of: str, metric: str | None) -> tuple[str, str]:
        if metric is None:
            return summary.NONE, summary.NONE
        measurement = summary.at(report, of, metric, figures[metric])
        value = summary.value(measurement, figures[metric])
        if measurement is None or measurement.difference_interval is None:
            return value, summary.NONE
        return value, f"{summary.change(measurement)} ({summary.change_interval(measurement)})"

    small, change = cells(candidate, main)
    speed = summary.speedup(summary.at(report, candidate, timed, figures[timed])) if timed else None
    size = report.find(candidate, "size_bytes")
    verdicts = [verdict for verdict in report.verdicts if verdict.candidate == candidate]
    return [
        f"`{name}` {candidate}",
        report.task,
        f"{report.data.rows:,}",
        figures[main].title if main else summary.NONE,
        cells(baseline, main)[0],
        small,
        change,
        f"{summary.times(speed)} ({summary.times_interval(speed)})" if speed else summary.NONE,
        f"{size.ratio:.3f}x" if size and size.ratio else summary.NONE,
        "; ".join(map(_goal, verdicts)) or summary.STATUS_WORDS[None],
    ]


def markdown(reports: Mapping[str, Report]) -> str:
    """One table of all records, a row a candidate that was judged, or the sentence that there is none."""
    if not reports:
        return NONE
    rule = ["---:" if title in _RIGHT else "---" for title in HEADER]
    rows = [row(name, report, candidate) for name, report in reports.items() for candidate in judged(report)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (list(HEADER), rule, *rows))
