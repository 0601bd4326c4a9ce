"""Damage as Markdown: what was won, the sentences, then tables, then the rows."""

from __future__ import annotations

from bench.answers.shown import Row
from bench.record.model import Report
from bench.report import caveats, summary
from bench.report.damage import rows, view
from bench.report.markdown import _cards, _cell, _rows, _table, _verdicts

_LISTED = 20


def _row(row: Row) -> list[str]:
    return [
        str(row.number),
        rows.CHANGE_WORDS[row.change],
        row.truth or "-",
        row.before,
        row.after,
        " / ".join(row.cells.values()),
    ]


def page(report: Report) -> str:
    """The whole page; an empty text where the report holds nothing about damage."""
    damage = view.collect(report)
    if damage is None:
        return ""
    parts = [f"# {_cell(report.title)}", f"**{_cell(damage.headline)}**", _cards(report)]
    parts.append("\n".join(f"- {_cell(sentence)}" for sentence in caveats.sentences(report)))
    parts += _verdicts(report)
    parts += [f"**{title}.** {_cell(sentence)}" for title, sentence in damage.sentences]
    for entry, model in damage.sections:
        section = []
        for table in entry.tables(model):
            section += [_cell(table.title), _table(table)]
        for listing in entry.listings(model):
            if listing.rows:
                header = ["row", "what happened", "truth", "before", "now", "text"]
                listed = [_row(row) for row in listing.rows[:_LISTED]]
                section += [_cell(listing.title), _rows(header, listed)]
        if section:
            parts += [f"## {entry.TITLE}", *section]
    if damage.notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in damage.notes)]
    parts.append(f"Measured {summary.when(report)}; seed {report.seed}.")
    return "\n\n".join(part for part in parts if part) + "\n"
