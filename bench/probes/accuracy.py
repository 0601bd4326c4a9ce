"""The task's own metrics on the evaluation rows, with paired differences to the baseline.

Rows are resampled once for all candidates (bootstrap over rows, 2,000 resamples), so that a difference is
between figures of the same rows. Predictions come from the lane, that is from the shipped artifact in
the shipped runtime, at a stated batch size: a dynamically quantized model answers a little
differently in other company.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bench import feeds, stats
from bench.probes import Subject
from bench.record import Measurement
from compress import log
from compress.errors import DataError

if TYPE_CHECKING:
    from bench.lanes import Lane

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = True
FRESH = False

# Metrics that are no share of something; of an error, less is better.
_UNITS = {"mcc": "correlation", "pearson": "correlation", "spearman": "correlation", "mse": "squared"}
_ERRORS = frozenset({"mse"})


class Config(BaseModel):
    """Options.

    Attributes:
        batch_size: rows at once; the first of the bench's batch sizes when absent.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int | None = Field(default=None, ge=1)


def score(
    name: str,
    statistics: dict[str, np.ndarray],
    subject: Subject,
    weights: np.ndarray,
    drawn: dict[str, dict[str, np.ndarray]],
    conditions: dict[str, int | str],
) -> list[Measurement]:
    """Every metric of one candidate.

    Args:
        name: of the candidate.
        statistics: candidate -> row statistics [rows, k].
        subject: task, head and baseline.
        weights: resamples, [resamples, rows].
        drawn: candidate -> metric -> figures of the resamples; filled here.
        conditions: stated with each figure.
    """
    task, head = subject.task, subject.head

    def metrics(totals: np.ndarray) -> dict[str, float]:
        scored: dict[str, float] = task.metrics(totals, head)
        return scored

    for needed in (subject.baseline, name):
        if needed not in drawn:
            drawn[needed] = stats.resampled_metrics(statistics[needed], metrics, weights)
    own, other = metrics(statistics[name].sum(axis=0)), metrics(statistics[subject.baseline].sum(axis=0))
    found = []
    for metric, value in own.items():
        gap = drawn[name][metric] - drawn[subject.baseline][metric]
        found.append(
            Measurement(
                probe="accuracy",
                candidate=name,
                metric=metric,
                value=value,
                unit=_UNITS.get(metric, UNIT),
                better="lower" if metric in _ERRORS else BETTER,
                interval=stats.interval(drawn[name][metric]),
                difference=value - other[metric],
                difference_interval=stats.interval(gap),
                conditions=conditions,
            )
        )
    return found


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The task's metrics of every candidate; the first one is the task's main metric.

    Raises:
        DataError: the evaluation rows have no labels.
    """
    if any(subject.task.LABEL not in row for row in subject.rows):
        raise DataError(
            "the evaluation rows have no labels, which accuracy needs: give labeled rows, or name the other "
            "probes (--probes latency,memory,size,agreement)"
        )
    size = config.batch_size or subject.bench.batch_sizes[0]
    references = [subject.task.reference(row, subject.head) for row in subject.rows]
    statistics = {}
    with log.progress("accuracy", len(lanes) * len(subject.rows)) as bar:
        for lane in lanes:
            predictions = feeds.predict(lane, subject, size, bar.advance)
            statistics[lane.name] = np.asarray(
                subject.task.statistics(predictions, references, subject.head), dtype=np.float64
            )
    weights = stats.resample_weights(len(subject.rows), np.random.default_rng([subject.seed, 5]))
    conditions: dict[str, int | str] = {"rows": len(subject.rows), "batch_size": size}
    drawn: dict[str, dict[str, np.ndarray]] = {}
    return [
        one for lane in lanes for one in score(lane.name, statistics, subject, weights, drawn, conditions)
    ]
