"""What a report holds of damage: its findings by kind, and what belongs on a first screen."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record.findings import (
    Calibration,
    Challenge,
    Divergence,
    Fairness,
    Flips,
    Robustness,
    Row,
    Slice,
    Slices,
)
from bench.record.model import Measurement, Report

SECTIONS = ("flips", "slices", "calibration", "divergence", "robustness", "challenge", "fairness")


@dataclass(frozen=True)
class Damage:
    """The findings about one candidate; None where a probe did not run.

    Attributes:
        original: name of the baseline.
        candidate: name of what is compared with it.
        score: the task's main metric, where the accuracy probe ran.
        refused: probe and reason, of those that had nothing to say to these rows.
    """

    original: str
    candidate: str
    score: Measurement | None
    flips: Flips | None = None
    slices: Slices | None = None
    calibration: Calibration | None = None
    divergence: Divergence | None = None
    robustness: Robustness | None = None
    challenge: Challenge | None = None
    fairness: Fairness | None = None
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Sections that were not looked at."""
        return tuple(name for name in SECTIONS if getattr(self, name) is None)


@dataclass(frozen=True)
class Highlights:
    """What a first screen shows of damage.

    Attributes:
        slices: those with the worst change.
        metric: that the slices compare.
        rows: flipped answers, harmful ones first.
    """

    slices: tuple[Slice, ...]
    metric: str
    rows: tuple[Row, ...]


def collect(report: Report, candidate: str | None = None) -> Damage | None:
    """The findings about a candidate, the one that ships when None; None where there are none."""
    name = candidate or report.candidates[-1].name
    own = [one for one in report.measurements if one.candidate == name]
    found = {one.finding.kind: one.finding for one in own if one.finding is not None}
    if not found:
        return None
    score = next((one for one in own if one.probe == "accuracy"), None)
    refused = tuple(sorted(report.conditions.not_measured.items()))
    return Damage(
        original=report.baseline,
        candidate=name,
        score=score,
        refused=refused,
        **found,  # type: ignore[arg-type]
    )


def steps(report: Report) -> list[Damage]:
    """The findings about every candidate that was compared with the original, in the order of the report."""
    found = [collect(report, candidate.name) for candidate in report.candidates]
    return [one for one in found if one is not None]


def highlights(
    report: Report, candidate: str | None = None, slices: int = 3, rows: int = 5
) -> Highlights | None:
    """The worst slices and the first flipped rows of a candidate; None where neither probe ran."""
    found = collect(report, candidate)
    if found is None or (found.slices is None and found.flips is None):
        return None
    return Highlights(
        slices=found.slices.slices[:slices] if found.slices else (),
        metric=found.slices.metric if found.slices else "",
        rows=found.flips.worst[:rows] if found.flips else (),
    )
