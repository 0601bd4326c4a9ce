"""Damage as Markdown: what was won, the sentences, then tables, then the rows."""

from __future__ import annotations

from bench.record.findings import Row
from bench.record.model import Report
from bench.report import caveats, summary
from bench.report.damage import tables, view, words
from bench.report.markdown import _cards, _cell, _rows, _verdict_row
from bench.verdicts import chance

_LISTED = 20


def _row(row: Row) -> list[str]:
    return [
        str(row.number),
        words.CHANGE_WORDS[row.change],
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
    parts = [f"# {_cell(report.title)}", f"**{_cell(words.headline(damage))}**", _cards(report)]
    parts += [f"**{_cell(sentence)}**" for sentence in chance.sentences(report)]
    parts.append("\n".join(f"- {_cell(sentence)}" for sentence in caveats.sentences(report)))
    if report.verdicts:
        rows = [_verdict_row(verdict) for verdict in report.verdicts]
        parts += ["## Gates", _rows(["status", "gate", "candidate", "limit", "reason"], rows, right=5)]
    parts += [f"**{title}.** {_cell(sentence)}" for title, sentence in words.sentences(damage)]
    if damage.slices is not None:
        parts += ["## Slices", _rows(tables.SLICE_HEADER, tables.slice_cells(damage.slices), right=1)]
    if damage.flips is not None and damage.flips.worst:
        header = ["row", "what happened", "truth", "before", "now", "text"]
        rows = [_row(row) for row in damage.flips.worst[:_LISTED]]
        parts += ["## Flipped rows", _rows(header, rows, right=6)]
    if damage.challenge is not None:
        parts.append("## Challenge sets")
        for one in damage.challenge.sets:
            parts.append(_rows(tables.PASSED_HEADER, tables.passed_cells([one.whole, *one.tests]), right=1))
    if damage.robustness is not None:
        parts += ["## Changed texts", _rows(tables.CHANGE_HEADER, tables.change_cells(damage.robustness), 1)]
    if damage.fairness is not None:
        parts.append("## Groups")
        for gap in damage.fairness.gaps:
            parts += [_cell(words.gap(gap)), _rows(tables.GROUP_HEADER, tables.group_cells(gap), right=1)]
    notes = words.notes(damage)
    if notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in notes)]
    parts.append(f"Measured {summary.when(report)}; seed {report.seed}.")
    return "\n\n".join(part for part in parts if part) + "\n"
