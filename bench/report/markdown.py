"""A report as Markdown, the verdict first."""

from __future__ import annotations

from dataclasses import replace

from bench.record.model import Report, Verdict
from bench.report import cards, caveats, summary, tables
from bench.report.damage import brief
from bench.report.damage.tables import STEP_HEADER


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _rows(header: list[str], rows: list[list[str]], right: int) -> str:
    """A Markdown table; columns from ``right`` on are aligned right."""
    rule = ["---" if index < right else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (header, rule, *rows))


def _table(found: tables.Table) -> str:
    return _rows(found.header, [list(map(str, row)) for row in found.rows], right=found.left)


def table(report: Report) -> str:
    """The candidates as a Markdown table: before, each step, after."""
    found = tables.named(tables.candidates(report), report, runtime=True)
    spread = [any(row[place].interval for row in found.rows) for place in range(len(found.header))]
    header = [f"{name} (95 %)" if more else name for name, more in zip(found.header, spread, strict=True)]
    return _table(replace(found, header=header))


def _verdict_row(verdict: Verdict) -> list[str]:
    return [verdict.status, verdict.gate, verdict.candidate, verdict.limit, verdict.reason]


def _cards(report: Report) -> str:
    """The deciding figures as a list."""
    return "\n".join(
        f"- {_cell(card.title)}: **{card.value}** ({_cell(card.words)})" for card in cards.cards(report)
    )


def _damage(report: Report) -> list[str]:
    """What became worse, in sentences and two small tables; rows are in the page and in the JSON."""
    found = brief.of(report)
    if found is None:
        return []
    parts = ["## What got worse"]
    parts.append("\n".join(f"- {_cell(title)}: {_cell(said)}" for title, said in found.sentences))
    if found.slices:
        parts += ["The worst slices:", _rows(found.header, found.slices, right=1)]
    if found.steps:
        parts += ["Step by step:", _rows(STEP_HEADER, found.steps, right=1)]
    return parts


def page(report: Report) -> str:
    """The report as Markdown, the verdict first."""
    parts = [f"# {_cell(report.title)}", f"**{_cell(summary.headline(report))}**"]
    parts += [_cards(report), table(report)]
    parts.append("\n".join(f"- {_cell(sentence)}" for sentence in caveats.sentences(report)))
    if report.verdicts:
        rows = [_verdict_row(verdict) for verdict in report.verdicts]
        parts += ["## Gates", _rows(["status", "gate", "candidate", "limit", "reason"], rows, right=5)]
    parts += _damage(report)
    for found in (*tables.joined(report), tables.further(report)):
        if found.rows:
            parts += [f"## {found.title}", _table(found)]
    answers = summary.answers(report)
    if answers:
        parts.append("\n".join(f"- {_cell(answer)}" for answer in answers))
    parts += ["## What was measured", "\n\n".join(_cell(said) for said in summary.explanation(report))]
    notes = summary.notes(report)
    if notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in notes)]
    parts += [
        "## Machine",
        _rows(["what", "found"], [[key, value] for key, value in summary.machine(report)], right=2),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
