"""What a report holds of damage: the findings about a candidate, in the order of their sections."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.display.parts import Highlight, Table, table
from bench.findings import Finding
from bench.record.finding import Finding as Model
from bench.record.finding import Unread
from bench.record.model import Report
from compress import catalog


@dataclass(frozen=True)
class Damage:
    """The findings about one candidate.

    Attributes:
        original: name of the baseline.
        candidate: name of what is compared with it.
        sections: the entry and what a report holds of it, in order.
        missing: findings that were not looked for.
        refused: probe and reason, of those that had nothing to say to these rows.
        unread: findings that were looked for by what is not installed here.
    """

    original: str
    candidate: str
    sections: tuple[tuple[Finding, Model], ...]
    missing: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    unread: tuple[str, ...]

    @property
    def findings(self) -> dict[str, Model]:
        """What was found, by its kind."""
        return {model.kind: model for _, model in self.sections}

    @property
    def headline(self) -> str:
        """What happened, in one line."""
        clauses = [clause for entry, model in self.sections if (clause := entry.headline(model))]
        return ": ".join([f"{self.candidate} against {self.original}", *clauses[:1]])

    @property
    def sentences(self) -> list[tuple[str, str]]:
        """Every section's title with each of its sentences."""
        return [
            (entry.TITLE, sentence) for entry, model in self.sections for sentence in entry.sentences(model)
        ]

    @property
    def notes(self) -> list[str]:
        """What a reader must know: of every section, and what was not looked at."""
        remarks = [note for entry, model in self.sections for note in entry.notes(model)]
        remarks += [f"{probe} is not measured: {reason}" for probe, reason in self.refused]
        remarks += [
            f"'{kind}' was found by what is not installed here: it is in the JSON" for kind in self.unread
        ]
        return [*remarks, f"not looked at: {', '.join(self.missing)}"] if self.missing else remarks

    def brief(self, rows: int) -> list[Table]:
        """The figures that there is room for beside sentences: of each finding so many rows."""
        tables = [entry.brief(model) for entry, model in self.sections]
        return [
            replace(brief_table, rows=brief_table.rows[:rows])
            for brief_table in tables
            if brief_table is not None
        ]

    def highlights(self, marks: int = 3, rows: int = 5) -> list[Highlight]:
        """What a first screen shows: of each finding so many changes, or rows."""
        full = [entry.highlight(model) for entry, model in self.sections]
        cut = [
            replace(highlight, marks=highlight.marks[:marks], rows=highlight.rows[:rows])
            for highlight in full
            if highlight
        ]
        return [highlight for highlight in cut if highlight.marks or highlight.rows]


def collect(report: Report, candidate: str | None = None) -> Damage | None:
    """The findings about a candidate, the one that ships when None; None where there are none."""
    name = candidate or report.candidates[-1].name
    findings = {
        measurement.finding.kind: measurement.finding
        for measurement in report.measurements
        if measurement.candidate == name and measurement.finding is not None
    }
    if not findings:
        return None
    read = [
        (catalog.finding(kind), model) for kind, model in findings.items() if not isinstance(model, Unread)
    ]
    kinds = {catalog.canonical(kind) for kind in findings}
    return Damage(
        original=report.baseline,
        candidate=name,
        sections=tuple(sorted(read, key=lambda section: section[0].RANK)),
        missing=tuple(kind for kind in catalog.names("finding") if kind not in kinds),
        refused=tuple(sorted(report.conditions.not_measured.items())),
        unread=tuple(kind for kind, model in findings.items() if isinstance(model, Unread)),
    )


def steps(report: Report) -> Table | None:
    """A row a candidate that was compared with the original; None for one alone, of which all else speaks."""
    damages = [
        damage for candidate in report.candidates if (damage := collect(report, candidate.name)) is not None
    ]
    if len(damages) < 2:
        return None
    cells = [_steps(damage) for damage in damages]
    header = list(dict.fromkeys(column for texts in cells for column in texts))
    rows = [
        [damage.candidate, *(texts.get(column, "-") for column in header)]
        for damage, texts in zip(damages, cells, strict=True)
    ]
    return table("Step by step", ["against the original", *header], rows)


def _steps(damage: Damage) -> dict[str, str]:
    return {column: cell for entry, model in damage.sections for column, cell in entry.steps(model).items()}
