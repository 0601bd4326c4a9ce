"""The figures of one artifact in a bench report, for its card.

The report is a file that ``paredown bench --json`` wrote; only what a card shows is read of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from compress import tasks
from compress.artifacts import seal
from compress.errors import UserError
from compress.reading import json_values
from compress.strict import Strict
from deploy.truncation import Truncation


class _Part(Strict):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Interval(_Part):
    """A confidence interval."""

    low: float
    high: float
    level: float


class Candidate(_Part):
    """What was measured."""

    name: str
    artifact: str
    runtime: str
    device: str
    threads: int
    truncation: Truncation | None = None


class Measurement(_Part):
    """One figure of one candidate."""

    candidate: str
    metric: str
    value: float
    unit: str
    interval: Interval | None = None
    conditions: dict[str, int | str] = Field(default={})
    notes: tuple[str, ...] = ()
    blind: float | None = None


class Verdict(_Part):
    """What a gate said."""

    gate: str
    candidate: str
    status: str
    reason: str


class Figures(_Part):
    """A report, as far as a card shows it."""

    schema_version: Literal[1, 2]
    candidates: tuple[Candidate, ...]
    baseline: str
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...] = ()
    data: dict[str, Any]
    label_order: tuple[str, ...] = ()
    environment: dict[str, str]
    created: str

    def of(self, candidate: Candidate) -> tuple[Measurement, ...]:
        """The figures of one candidate."""
        return tuple(
            measurement for measurement in self.measurements if measurement.candidate == candidate.name
        )

    @property
    def chance(self) -> Measurement | None:
        """The baseline's main metric where it is no better than chance; None where it is above."""
        for measurement in self.measurements:
            if measurement.candidate == self.baseline and measurement.blind is not None:
                return measurement if tasks.at_chance(measurement.value, measurement.blind) else None
        return None


def read(path: Path, artifact_id: str) -> tuple[Figures, tuple[Candidate, ...]]:
    """A report, and the candidates in it that are this artifact.

    Raises:
        UserError: it cannot be read, is no report, has no seal that fits, or measured other artifacts only.
    """
    tree = json_values.read(path)
    try:
        report = Figures.model_validate(tree)
    except ValidationError as cause:
        raise UserError(
            f"{path} is not a paredown report ({cause.errors()[0]['msg']}): give a file that "
            "'paredown bench --json' wrote"
        ) from cause
    seal.check(tree, str(path), must_be_sealed=True)
    candidates = tuple(candidate for candidate in report.candidates if candidate.artifact == artifact_id)
    if not candidates:
        names = ", ".join(f"{candidate.name} ({candidate.artifact[:12]})" for candidate in report.candidates)
        raise UserError(
            f"the report {path} has no figure of this artifact ({artifact_id[:12]}); it measured: {names}. "
            "Bench this artifact, or leave --report out"
        )
    return report, candidates
