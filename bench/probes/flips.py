"""Answers that changed against the baseline, and whether that harmed: the rows, readable, worst first.

Harmful is right before and wrong after. For numbers: the error grew by more than ``within`` of the
range of the baseline's answers. The words of the first flipped texts are weighed for both models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import Field

from bench.answers import asking, occlusion
from bench.answers.asking import Asker, DamageConfig
from bench.findings import flips
from bench.findings.flips import Flips
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement
from bench.statistics import stats

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (Figure("flips", rows="nowhere"), Figure("*_flips", rows="nowhere"))
LISTS = ("rows", "explained")


class Config(DamageConfig):
    """Options.

    Attributes:
        rows: flipped rows to list at most.
        explained: how many of them get their words weighed.
        within: for regression: the change of the error that does not count, as a share of the range.
    """

    rows: int = Field(default=100, ge=0, le=10**5)
    explained: int = Field(default=10, ge=0, le=10**5)
    within: float = Field(default=0.02, gt=0, le=1e6)


def _explained(ask: Asker, finding: Flips, count: int) -> Flips:
    """The finding with the words of its first rows weighed, or a note why not."""
    pair = ask.evaluation()
    picks = [row.number - 1 for row in finding.worst[:count]]
    if not picks:
        return finding
    reason = occlusion.unsuited(ask.subject.task, pair)
    if reason:
        return finding.model_copy(update={"notes": (*finding.notes, reason)})
    weighed = occlusion.explain(pair, picks, ask.subject.task, ask.rows)
    worst = tuple(
        row.model_copy(update={"attribution": weighed.get(row.number - 1)}) for row in finding.worst
    )
    return finding.model_copy(update={"worst": worst, "attribution": occlusion.METHOD})


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Shares of changed, harmful and beneficial answers of every candidate but the baseline.

    Raises:
        DataError: the evaluation rows have no labels.
    """
    measurements = []
    for ask in asking.candidates(lanes, subject, config, "flips"):
        finding = flips.find(
            ask.evaluation(), subject.task, config.rows, config.within, asking.generator(subject, 21)
        )
        finding = _explained(ask, finding, config.explained)
        changed = finding.harmful + finding.beneficial + finding.other
        counts = {"harmful_flips": finding.harmful, "beneficial_flips": finding.beneficial, "flips": changed}
        for metric, count in counts.items():
            measurements.append(
                Measurement(
                    probe="flips",
                    candidate=ask.name,
                    metric=metric,
                    value=count / finding.rows,
                    unit=UNIT,
                    better="higher" if metric == "beneficial_flips" else BETTER,
                    interval=stats.wilson(count, finding.rows),
                    conditions={"rows": finding.rows, "batch_size": ask.size},
                    finding=finding if metric == "harmful_flips" else None,
                )
            )
    return measurements
