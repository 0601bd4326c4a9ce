"""Gaps between groups, before and after: a column of the rows, or sentences that differ in the group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import Field, model_validator

from bench.answers import asking
from bench.answers.asking import DamageConfig
from bench.findings import fairness
from bench.findings.fairness import Fairness
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement
from compress.pipeline.places import Place

if TYPE_CHECKING:
    from bench.answers.slicing import Small
    from bench.findings.fairness import Gap
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (Figure("fairness_gap", rows="nowhere", gate="fairness-gap"),)


class Config(DamageConfig):
    """Options; one of the two is needed.

    Attributes:
        groups: column of the evaluation rows that names each row's group.
        templates: folders or files of sentences that exist for several groups.
        column: of the templates that holds the group's term; found by its usual names when absent.
        min_rows: that a group needs to be judged.
        rows: sentences of each template set, at most; a seeded choice where there are more.
    """

    groups: str | None = None
    templates: tuple[Place, ...] = ()
    column: str | None = None
    min_rows: int = Field(default=20, ge=2, le=10**7)
    rows: int = Field(default=5000, ge=2, le=10**7)

    @model_validator(mode="after")
    def _something(self) -> Config:
        if self.groups is None and not self.templates:
            raise ValueError("name the column with the groups (groups), or sets of templates (templates)")
        return self


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Each gap of every candidate but the baseline.

    Raises:
        DataError: a column or set that is not there, or too few groups.
    """
    swaps = [
        fairness.read_swaps(place, subject.task, config.column, config.rows, subject.seed)
        for place in config.templates
    ]
    measurements = []
    for ask in asking.candidates(lanes, subject, config, "fairness"):
        gaps: list[Gap] = []
        small: list[Small] = []
        if config.groups is not None:
            gaps, small = fairness.by_column(
                ask.evaluation(), subject.task, config.groups, config.min_rows, asking.generator(subject, 25)
            )
        gaps += [fairness.by_swaps(swap, ask.rows, asking.generator(subject, 26)) for swap in swaps]
        finding = Fairness(gaps=tuple(gaps), small=tuple(small))
        for place, gap in enumerate(gaps):
            measurements.append(
                Measurement(
                    probe="fairness",
                    candidate=ask.name,
                    metric="fairness_gap",
                    value=gap.after,
                    unit=gap.unit,
                    better=BETTER,
                    difference=gap.difference,
                    difference_interval=gap.interval,
                    conditions={"of": gap.of, "source": gap.source, "batch_size": ask.size},
                    finding=finding if not place else None,
                )
            )
    return measurements
