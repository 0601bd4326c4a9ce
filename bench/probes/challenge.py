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
    read = [challenge_set.sample(config.cases, subject.seed) for challenge_set in read]
    measurements = []
    for ask in asking.candidates(lanes, subject, config, "challenge sets"):
        sets = [
            challenge.find(
                replace(challenge_set, notes=challenge_set.notes + ask.cut(challenge_set.rows)),
                ask.rows(challenge_set.rows),
                subject.task,
                config.listed,
            )
            for challenge_set in read
        ]
        finding = Challenge(sets=tuple(sets))
        for place, challenge_set in enumerate(sets):
            measurements.append(
                Measurement(
                    probe="challenge",
                    candidate=ask.name,
                    metric="challenge",
                    value=challenge_set.whole.after,
                    unit=UNIT,
                    better=BETTER,
                    difference=challenge_set.whole.difference,
                    difference_interval=challenge_set.whole.interval,
                    conditions={
                        "set": challenge_set.name,
                        "cases": challenge_set.whole.cases,
                        "batch_size": ask.size,
                    },
                    notes=tuple(f"{challenge_set.name}: {note}" for note in challenge_set.notes),
                    finding=finding if not place else None,
                )
            )
    return measurements
