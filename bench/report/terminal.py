"""A report in the terminal: one table, then the verdicts."""

from __future__ import annotations

from rich.cells import cell_len
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


_GAP = 2
"""Between two columns."""


def table(content: parts.Table, width: int, *, titled: bool = True) -> Table:
    """A table of texts that fits into so many characters.

    Where it is too wide, titles of figures stand on several lines; then words wrap at their spaces, then
    titles and figures are cut, and only where all of that is not enough a name is broken.
    """
    grid = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    grid.title = content.title if titled else None
    rows = [[cell.text for cell in row] for row in content.rows]
    words = [content.holds_words(place) for place in range(len(content.header))]
    columns = list(map(list, zip(content.header, *rows, strict=True)))
    room = width - _GAP * (len(columns) - 1)
    if sum(map(_widest, columns)) > room:
        for column, in_words in zip(columns, words, strict=True):
            column[0] = column[0] if in_words else column[0].replace(" ", "\n").replace("-", "-\n")
    for column, in_words, span in zip(columns, words, _widths(columns, words, room), strict=True):
        overflow: OverflowMethod = "fold" if in_words else "ellipsis"
        grid.add_column(
            escape(column[0]),
            justify="left" if in_words else "right",
            no_wrap=not in_words,
            overflow=overflow,
            width=span,
        )
    for row in rows:
        grid.add_row(*map(escape, row))
    return grid


def _widest(texts: list[str]) -> int:
    """What the widest line of some texts takes."""
    return max((cell_len(line) for text in texts for line in text.splitlines()), default=0)


def _widths(columns: list[list[str]], words: list[bool], room: int) -> list[int]:
    """The widths of columns, each with its title first: the widest gives way first, down to what it needs."""
    whole = [_widest(column) for column in columns]
    tight = [_widest([word for text in column for word in text.split()]) for column in columns]
    untitled = [_widest(column[1:]) for column in columns]
    widths = list(whole)
    for figures in (whole, untitled, [1] * len(columns)):
        floors = [tight[place] if words[place] else least for place, least in enumerate(figures)]
        _narrow(widths, floors, room)
    _narrow(widths, [1] * len(columns), room)
    return widths


def _narrow(widths: list[int], floors: list[int], room: int) -> None:
    """Take from the widest of those above their floor until all of them fit."""
    while sum(widths) > room and (
        wide := [place for place, floor in enumerate(floors) if widths[place] > floor]
    ):
        widths[max(wide, key=widths.__getitem__)] -= 1


def show(report: Report, console: Console) -> None:
    """Print the tables and a line a verdict."""
    points = summary.grid(report)
    if points:
        console.print(
            f"Latency at {summary.where(points[0])}, candidates in turns:", highlight=False, markup=False
        )
    console.print(table(tables.named(tables.candidates(report), report), console.width, titled=False))
    for section in (*tables.joined(report, page=False), tables.further(report, page=False)):
        if section.rows:
            console.print(table(section, console.width))
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
