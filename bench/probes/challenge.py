"""Challenge sets of one's own: labeled rows, contrast pairs, or a CheckList suite; see ``--challenge``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import Field

from bench.answers import asking, challenges
from bench.answers.asking import DamageConfig
from bench.findings import challenge
from bench.findings.challenge import Challenge
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement
from compress.pipeline.places import Place

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = False
FRESH = False
FIGURES = (Figure("challenge", rows="nowhere", gate="challenge"),)
LISTS = ("listed",)


class Config(DamageConfig):
    """Options.

    Attributes:
        sets: folders or files.
        cases: of each set at most; a seeded choice where there are more.
        listed: cases of each set to list that the candidate alone fails, at most.
    """

    sets: tuple[Place, ...] = Field(min_length=1)
    cases: int = Field(default=5000, ge=2, le=10**7)
    listed: int = Field(default=10, ge=0, le=10**5)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The share of cases that every candidate but the baseline passes, set by set.

    Raises:
        DataError: a set that is not there or does not fit the models; it is named.
    """
    read = [challenges.read(place, subject.task, subject.head) for place in config.sets]
    read = [one.sample(config.cases, subject.seed) for one in read]
    made = []
    for ask in asking.candidates(lanes, subject, config, "challenge sets"):
        found = [
            challenge.find(
                replace(one, notes=one.notes + ask.cut(one.rows)),
                ask.rows(one.rows),
                subject.task,
                config.listed,
            )
            for one in read
        ]
        finding = Challenge(sets=tuple(found))
        for place, one in enumerate(found):
            made.append(
                Measurement(
                    probe="challenge",
                    candidate=ask.name,
                    metric="challenge",
                    value=one.whole.after,
                    unit=UNIT,
                    better=BETTER,
                    difference=one.whole.difference,
                    difference_interval=one.whole.interval,
                    conditions={"set": one.name, "cases": one.whole.cases, "batch_size": ask.size},
                    notes=tuple(f"{one.name}: {note}" for note in one.notes),
                    finding=finding if not place else None,
                )
            )
    return made
