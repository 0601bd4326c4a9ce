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
        told = [clause for entry, model in self.sections if (clause := entry.headline(model))]
        return ": ".join([f"{self.candidate} against {self.original}", *told[:1]])

    @property
    def sentences(self) -> list[tuple[str, str]]:
        """Every section's title with each of its sentences."""
        return [
            (entry.TITLE, sentence) for entry, model in self.sections for sentence in entry.sentences(model)
        ]

    @property
    def notes(self) -> list[str]:
        """What a reader must know: of every section, and what was not looked at."""
        told = [note for entry, model in self.sections for note in entry.notes(model)]
        told += [f"{probe} is not measured: {reason}" for probe, reason in self.refused]
        told += [
            f"'{kind}' was found by what is not installed here: it is in the JSON" for kind in self.unread
        ]
        return [*told, f"not looked at: {', '.join(self.missing)}"] if self.missing else told

    def brief(self, rows: int) -> list[Table]:
        """The figures that there is room for beside sentences: of each finding so many rows."""
        found = [entry.brief(model) for entry, model in self.sections]
        return [replace(one, rows=one.rows[:rows]) for one in found if one is not None]

    def highlights(self, marks: int = 3, rows: int = 5) -> list[Highlight]:
        """What a first screen shows: of each finding so many changes, or rows."""
        found = [entry.highlight(model) for entry, model in self.sections]
        cut = [replace(one, marks=one.marks[:marks], rows=one.rows[:rows]) for one in found if one]
        return [one for one in cut if one.marks or one.rows]


def collect(report: Report, candidate: str | None = None) -> Damage | None:
    """The findings about a candidate, the one that ships when None; None where there are none."""
    name = candidate or report.candidates[-1].name
    found = {
        one.finding.kind: one.finding
        for one in report.measurements
        if one.candidate == name and one.finding is not None
    }
    if not found:
        return None
    read = [(catalog.finding(kind), model) for kind, model in found.items() if not isinstance(model, Unread)]
    known = {catalog.canonical(kind) for kind in found}
    return Damage(
        original=report.baseline,
        candidate=name,
        sections=tuple(sorted(read, key=lambda each: each[0].RANK)),
        missing=tuple(each for each in catalog.names("finding") if each not in known),
        refused=tuple(sorted(report.conditions.not_measured.items())),
        unread=tuple(kind for kind, model in found.items() if isinstance(model, Unread)),
    )


def steps(report: Report) -> Table | None:
    """A row a candidate that was compared with the original; None for one alone, of which all else speaks."""
    found = [damage for each in report.candidates if (damage := collect(report, each.name)) is not None]
    if len(found) < 2:
        return None
    cells = [_steps(damage) for damage in found]
    header = list(dict.fromkeys(column for each in cells for column in each))
    rows = [
        [damage.candidate, *(each.get(column, "-") for column in header)]
        for damage, each in zip(found, cells, strict=True)
    ]
    return table("Step by step", ["against the original", *header], rows)


def _steps(damage: Damage) -> dict[str, str]:
    return {column: cell for entry, model in damage.sections for column, cell in entry.steps(model).items()}
