"""Damage in the terminal: what was won, sentences, the worst slices, the first flipped rows, the verdicts."""

from __future__ import annotations

import textwrap

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.record.model import Report
from bench.report import cards, caveats, terminal
from bench.report.damage import tables, view, words
from bench.verdicts import chance

_SLICES = 5
_ROWS = 5


def show(report: Report, console: Console) -> None:
    """Print what was found about the candidate, and a line a verdict."""
    damage = view.collect(report)
    if damage is None:
        console.print("nothing was looked at")
        return
    console.print(f"[bold]{escape(words.headline(damage))}[/]", highlight=False, soft_wrap=True)
    for sentence in caveats.sentences(report) + chance.sentences(report):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    for card in cards.cards(report):
        line = f"[bold]{escape(card.title)}.[/] {escape(card.value)} ({escape(card.words)})"
        console.print(line, highlight=False, soft_wrap=True)
    for title, sentence in words.sentences(damage):
        console.print(f"[bold]{title}.[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    if damage.slices is not None:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for place, name in enumerate(tables.SLICE_HEADER[:6]):
            table.add_column(name, justify="right" if place else "left", overflow="fold")
        for cells in tables.slice_cells(damage.slices)[:_SLICES]:
            table.add_row(*map(escape, cells[:6]))
        console.print(table)
    if damage.flips is not None and damage.flips.worst:
        console.print("[bold]Flipped rows[/] (all of them in --html and --json):")
        for row in damage.flips.worst[:_ROWS]:
            text = textwrap.shorten(" | ".join(row.cells.values()), 160, placeholder=" …")
            console.print(
                f"  {row.number}: {escape(text)}\n      truth {escape(row.truth or '-')}, before "
                f"{escape(row.before)}, now {escape(row.after)}",
                highlight=False,
                soft_wrap=True,
            )
    for note in words.notes(damage):
        console.print(f"Note: {escape(note)}", highlight=False, soft_wrap=True)
    if report.verdicts:
        terminal.show_verdicts(report, console)
