"""A report in the terminal: one table, then the verdicts."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.record.model import Report, Status
from bench.report import caveats, device_tables, summary

_STYLES: dict[Status, str] = {
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "yellow",
    "anomalous": "magenta",
}


def table(report: Report) -> Table:
    """Candidates from before to after, with the figures that decide."""
    metric = summary.main_metric(report) or "score"
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("candidate", overflow="fold")
    for title in (escape(metric), "change", "p50", "p95", "speed-up", "memory", "size"):
        shown.add_column(title, justify="right", no_wrap=True)
    for line in summary.lines(report):
        shown.add_row(
            escape(line.name),
            summary.score(line.score),
            "baseline" if line.name == report.baseline else summary.change(line.score),
            summary.time(line.p50),
            summary.time(line.p95),
            summary.times(summary.speedup(line.p50)),
            summary.memory(line.memory.value) if line.memory else summary.NONE,
            summary.size(line.size.value) if line.size else summary.NONE,
        )
    return shown


def _plain(found: device_tables.Table) -> Table:
    shown = Table(title=found.title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for index, name in enumerate(found.header):
        shown.add_column(name, justify="left" if index < found.left else "right")
    for row in found.rows:
        shown.add_row(*map(escape, row))
    return shown


def show(report: Report, console: Console) -> None:
    """Print the table and a line a verdict."""
    points = summary.grid(report)
    if points:
        console.print(
            f"Latency at {summary.where(points[0])}, candidates in turns:", highlight=False, markup=False
        )
    console.print(table(report))
    for found in device_tables.tables(report):
        console.print(_plain(found))
    for sentence in caveats.sentences(report):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for answer in summary.answers(report):
        console.print(answer, highlight=False, markup=False, soft_wrap=True)
    show_verdicts(report, console)


def show_verdicts(report: Report, console: Console) -> None:
    """Print a line a verdict, and the overall one."""
    for verdict in report.verdicts:
        style = _STYLES[verdict.status]
        console.print(
            f"[{style}]{verdict.status:>12}[/]  {escape(verdict.gate)} ({escape(verdict.candidate)}): "
            f"{escape(verdict.reason)}",
            highlight=False,
            soft_wrap=True,
        )
    status = summary.overall(report)
    style = _STYLES[status] if status else "bold"
    console.print(f"[{style}]{escape(summary.headline(report))}[/]", highlight=False, soft_wrap=True)
