"""A report in the terminal: one table, then the verdicts."""

from __future__ import annotations

from rich.console import Console, OverflowMethod
from rich.markup import escape
from rich.table import Table

from bench.display import parts
from bench.record.model import Report, Status
from bench.report import caveats, summary, tables

_STYLES: dict[Status, str] = {
    "pass": "green",
    "fail": "bold red",
    "inconclusive": "yellow",
    "anomalous": "magenta",
}


def table(content: parts.Table, *, titled: bool = True) -> Table:
    """A table of texts; what its columns of figures have no room for is cut."""
    grid = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    grid.title = content.title if titled else None
    for index, name in enumerate(content.header):
        left = index < content.left
        overflow: OverflowMethod = "fold" if left else "ellipsis"
        grid.add_column(
            escape(name), justify="left" if left else "right", no_wrap=not left, overflow=overflow
        )
    for row in content.rows:
        grid.add_row(*(escape(cell.text) for cell in row))
    return grid


def show(report: Report, console: Console) -> None:
    """Print the tables and a line a verdict."""
    points = summary.grid(report)
    if points:
        console.print(
            f"Latency at {summary.where(points[0])}, candidates in turns:", highlight=False, markup=False
        )
    console.print(table(tables.named(tables.candidates(report), report), titled=False))
    for section in (*tables.joined(report), tables.further(report, page=False)):
        if section.rows:
            console.print(table(section))
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
