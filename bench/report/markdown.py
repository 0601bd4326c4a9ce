"""A report as Markdown, the verdict first."""

from __future__ import annotations

from collections.abc import Sequence

from bench.display.parts import Table
from bench.record.model import Report
from bench.report import cards, caveats, summary, tables
from bench.report.damage import view

# As many as the first screen of the page shows.
_WORST = 3


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _rows(header: list[str], rows: list[list[str]], figures: Sequence[int] = ()) -> str:
    """A Markdown table; its columns of figures are aligned right."""
    rule = ["---:" if place in figures else "---" for place in range(len(header))]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (header, rule, *rows))


def _table(table: Table) -> str:
    """A Markdown table; a column that has intervals says so."""
    spread = [any(row[place].interval for row in table.rows) for place in range(len(table.header))]
    header = [f"{name} (95 %)" if more else name for name, more in zip(table.header, spread, strict=True)]
    figures = [place for place in range(len(header)) if not table.holds_words(place)]
    return _rows(header, [list(map(str, row)) for row in table.rows], figures)


def table(report: Report) -> str:
    """The candidates as a Markdown table: before, each step, after."""
    return _table(tables.named(tables.candidates(report), report, runtime=True))


def _cards(report: Report) -> str:
    """The deciding figures as a list."""
    return "\n".join(
        f"- {_cell(card.title)}: **{card.value}** ({_cell(card.words)})" for card in cards.cards(report)
    )


def _verdicts(report: Report) -> list[str]:
    """The gates and what they say; nothing where nothing was judged."""
    rows = [
        [verdict.status, verdict.gate, verdict.candidate, verdict.limit, verdict.reason]
        for verdict in report.verdicts
    ]
    return ["## Gates", _rows(["status", "gate", "candidate", "limit", "reason"], rows)] if rows else []


def _damage(report: Report) -> list[str]:
    """What became worse, in sentences and small tables; rows are in the page and in the JSON."""
    damage = view.collect(report)
    if damage is None:
        return []
    sentences = "\n".join(f"- {_cell(title)}: {_cell(sentence)}" for title, sentence in damage.sentences)
    parts = ["## What got worse", sentences]
    steps = view.steps(report)
    for table in (*damage.brief(_WORST), *([steps] if steps else [])):
        parts += [f"{_cell(table.title)}:", _table(table)]
    return parts


def page(report: Report) -> str:
    """The report as Markdown, the verdict first."""
    parts = [f"# {_cell(report.title)}", f"**{_cell(summary.headline(report))}**"]
    parts += [_cards(report), table(report)]
    parts.append("\n".join(f"- {_cell(sentence)}" for sentence in caveats.sentences(report)))
    parts += _verdicts(report) + _damage(report)
    for section in (*tables.joined(report), tables.further(report)):
        if section.rows:
            parts += [f"## {section.title}", _table(section)]
    answers = summary.answers(report)
    if answers:
        parts.append("\n".join(f"- {_cell(answer)}" for answer in answers))
    parts += [
        "## What was measured",
        "\n\n".join(_cell(sentence) for sentence in summary.explanation(report)),
    ]
    notes = summary.notes(report)
    if notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in notes)]
    parts += [
        "## Machine",
        _rows(["what", "found"], [[key, value] for key, value in summary.machine(report)]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
