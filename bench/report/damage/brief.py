"""Damage in a few lines for reports about more: sentences and the worst slices, no text of any row."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record.model import Report
from bench.report.damage import tables, view, words

# As many as the first screen of the page shows, with the columns that fit beside a sentence.
_SLICES = 3
_COLUMNS = 6


@dataclass(frozen=True)
class Brief:
    """What became worse in the candidate that ships.

    Attributes:
        headline: in one line.
        sentences: title and sentence of every section.
        header: of the table of slices.
        slices: its rows, the worst change first; empty where slices were not looked at.
        steps: a row a candidate; empty where one alone was compared with the original.
    """

    headline: str
    sentences: tuple[tuple[str, str], ...]
    header: list[str]
    slices: list[list[str]]
    steps: list[list[str]]


def of(report: Report) -> Brief | None:
    """The few lines; None where the report holds nothing about damage."""
    damage = view.collect(report)
    if damage is None:
        return None
    worst = tables.slice_cells(damage.slices)[:_SLICES] if damage.slices else []
    return Brief(
        headline=words.headline(damage),
        sentences=tuple(words.sentences(damage)),
        header=tables.SLICE_HEADER[:_COLUMNS],
        slices=[cells[:_COLUMNS] for cells in worst],
        steps=tables.step_cells(view.steps(report)),
    )
