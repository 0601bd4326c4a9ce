"""What small changes of the texts do to a candidate beyond what they do to the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from bench.answers import asking
from bench.answers.asking import Asker, DamageConfig
from bench.findings import robustness
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = False
FRESH = False
FIGURES = (
    Figure("robustness", rows="nowhere", gate="robustness"),
    Figure("agreement_changed", rows="nowhere", gate="robustness"),
)
LISTS = ("listed",)


class Config(DamageConfig):
    """Options.

    Attributes:
        rows: that are changed, at most; a seeded sample where there are more.
        listed: rows to list for each change, at most.
    """

    rows: int = Field(default=1000, ge=2, le=10**7)
    listed: int = Field(default=5, ge=0, le=10**5)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """A figure for each kind of change, of every candidate but the baseline.

    For a change that keeps the label: the metric on changed rows, and as its difference what the
    candidate loses beyond the baseline. Otherwise the share of equal answers.

    Raises:
        UserError: the task's rows have no text.
    """
    measurements = []
    several = len(lanes) > 2
    for ask in asking.candidates(lanes, subject, config, "robustness"):
        # The n-th rows that are asked for are the same for every candidate: the original answers them once.
        number = count()

        def answer(rows: Sequence[dict[str, Any]], ask: Asker = ask, number: count[int] = number) -> Pair:
            return ask.rows(rows, f"robustness {config.rows} {next(number)}" if several else None)

        finding = robustness.find(
            subject.rows, subject.task, answer, config.rows, subject.seed, config.listed
        )
        for place, change in enumerate(finding.changes):
            labeled = change.after is not None
            measurements.append(
                Measurement(
                    probe="robustness",
                    candidate=ask.name,
                    metric="robustness" if labeled else "agreement_changed",
                    value=change.agreement if change.after is None else change.after,
                    unit=finding.unit if labeled else UNIT,
                    better=finding.better if labeled else BETTER,
                    difference=change.extra,
                    difference_interval=change.interval,
                    conditions={"change": change.name, "rows": change.rows, "batch_size": ask.size},
                    notes=finding.notes if not place else (),
                    finding=finding if not place else None,
                )
            )
    return measurements
