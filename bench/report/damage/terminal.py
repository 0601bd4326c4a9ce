"""Damage in the terminal: what was won, sentences, the worst slices, the first flipped rows, the verdicts."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.markup import escape

from bench.record.model import Report
from bench.report import cards, caveats, terminal
from bench.report.damage import view

_LINES = 5


def show(report: Report, console: Console) -> None:
    """Print what was found about the candidate, and a line a verdict."""
    damage = view.collect(report)
    if damage is None:
        console.print("nothing was looked at")
        return
    console.print(f"[bold]{escape(damage.headline)}[/]", highlight=False, soft_wrap=True)
    for sentence in caveats.sentences(report):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for card in cards.cards(report):
        line = f"[bold]{escape(card.title)}.[/] {escape(card.value)} ({escape(card.words)})"
        console.print(line, highlight=False, soft_wrap=True)
    for title, sentence in damage.sentences:
        console.print(f"[bold]{title}.[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    for table in damage.brief(_LINES):
        console.print(terminal.table(table, console.width))
    for highlight in damage.highlights(marks=0, rows=_LINES):
        console.print(f"[bold]{escape(highlight.title)}[/] (all of them in --html and --json):")
        for row in highlight.rows:
            text = textwrap.shorten(" | ".join(row.cells.values()), 160, placeholder=" …")
            console.print(
                f"  {row.number}: {escape(text)}\n      truth {escape(row.truth or '-')}, before "
                f"{escape(row.before)}, now {escape(row.after)}",
                highlight=False,
                soft_wrap=True,
            )
    for note in damage.notes:
        console.print(f"Note: {escape(note)}", highlight=False, soft_wrap=True)
    if report.verdicts:
        terminal.show_verdicts(report, console)
