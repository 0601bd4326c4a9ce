"""How far the candidate's distributions are from the baseline's, in nats a row: mean and tail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bench.answers import asking
from bench.answers.asking import DamageConfig
from bench.findings import divergence
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "nats"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (Figure("divergence_*", rows="nowhere"),)


class Config(DamageConfig):
    """Options."""


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Mean and 99th percentile over rows, of every candidate but the baseline.

    Raises:
        UserError: the task's answers have no distribution.
    """
    measurements = []
    for ask in asking.candidates(lanes, subject, config, "divergence"):
        finding = divergence.find(ask.evaluation(), asking.generator(subject, 24))
        for metric, value in (("divergence_mean", finding.mean), ("divergence_p99", finding.p99)):
            measurements.append(
                Measurement(
                    probe="divergence",
                    candidate=ask.name,
                    metric=metric,
                    value=value,
                    unit=UNIT,
                    better=BETTER,
                    interval=finding.mean_interval if metric == "divergence_mean" else None,
                    conditions={"rows": finding.rows, "batch_size": ask.size},
                    finding=finding if metric == "divergence_mean" else None,
                )
            )
    return measurements
