"""How often a candidate puts two documents of a query in another order than the baseline does.

Looked at are pairs of one query of which one document is more relevant than the other: the only ones whose
order says anything of a ranking. A pair whose order is turned round counts 1; one that only one of the models
has as a tie counts one half (as in Kendall's distance with ties). The share is of all such pairs of all
queries; its interval comes from resampled queries, since the pairs of one query are no independent trials.
Where no pair is turned it is Wilson's for queries, as if a query with one turned pair had them all turned.
``harmful_order_flips`` counts what went from the right order away; the rest was mended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from bench.statistics import stats
from compress import log, tasks
from compress.errors import DataError, NothingToMeasure
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (
    Figure("order_flips", columns=(Column("order flips", rank=51, wide=True),), rows="page"),
    Figure("harmful_order_flips", rows="page"),
)


class Config(Strict):
    """Options.

    Attributes:
        batch_size: rows at once; the first of the bench's batch sizes when absent.
    """

    batch_size: int | None = Field(default=None, ge=1, le=65_536)


def flips(before: np.ndarray, after: np.ndarray, grades: np.ndarray) -> np.ndarray:
    """Turned pairs of one query, those of them that were right, and all pairs, float64 [3].

    Args:
        before: the baseline's scores [documents].
        after: the candidate's.
        grades: relevance of each document.
    """
    better, worse = np.nonzero(grades[:, None] > grades[None, :])
    old, new = (np.sign(scores[better] - scores[worse]) for scores in (before, after))
    moved = (old - new) / 2
    return np.array([np.abs(moved).sum(), np.maximum(moved, 0).sum(), len(better)], dtype=np.float64)


def by_query(before: np.ndarray, after: np.ndarray, grades: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """``flips`` of each query, float64 [queries, 3].

    Args:
        before: the baseline's scores [rows].
        after: the candidate's.
        grades: relevance of each row's document.
        groups: number of each row's query.
    """
    return np.stack(
        [
            flips(before[rows], after[rows], grades[rows])
            for rows in (np.flatnonzero(groups == group) for group in np.unique(groups))
        ]
    )


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Both shares of every candidate but the baseline.

    Raises:
        NothingToMeasure: the task orders nothing, or no query has documents of different relevance.
        DataError: the evaluation rows have no labels.
    """
    groups = subject.task.groups(subject.rows)
    if subject.head.problem != "ranking" or groups is None:
        raise NothingToMeasure("order flips are of documents that a model ranks, and this task ranks none")
    if not tasks.all_labelled(subject.task, subject.rows):
        raise DataError(
            "the evaluation rows have no labels, which order flips need: give rows with their relevance, or "
            "look at agreement, which needs none"
        )
    size = config.batch_size or subject.bench.batch_sizes[0]
    grades = np.array([subject.task.reference(row, subject.head) for row in subject.rows], dtype=np.float64)
    scores: dict[str, np.ndarray] = {}
    with log.progress("order-flips", len(lanes) * len(subject.rows)) as bar:
        for lane in lanes:
            answers: list[Any] = [
                prediction.value for prediction in feeds.predict(lane, subject, size, bar.advance)
            ]
            scores[lane.name] = np.array(answers, dtype=np.float64)
    measurements = []
    for lane in lanes:
        if lane.name == subject.baseline:
            continue
        counts = by_query(scores[subject.baseline], scores[lane.name], grades, groups)
        pairs = counts[:, 2].sum()
        if not pairs:
            raise NothingToMeasure(
                "no query has documents of different relevance, so that there is no order to turn round"
            )
        weights = stats.resample_weights(len(counts), np.random.default_rng([subject.seed, 11]))
        totals = weights.astype(np.float64) @ counts
        for column, metric in enumerate(("order_flips", "harmful_order_flips")):
            with np.errstate(invalid="ignore"):
                interval = stats.interval(totals[:, column] / totals[:, 2])
            if not counts[:, column].any():  # resamples of nothing have no width
                interval = stats.wilson(0.0, int((counts[:, 2] > 0).sum()))
            measurements.append(
                Measurement(
                    probe="order_flips",
                    candidate=lane.name,
                    metric=metric,
                    value=float(counts[:, column].sum() / pairs),
                    unit=UNIT,
                    better=BETTER,
                    interval=interval,
                    conditions={"rows": len(subject.rows), "groups": len(counts), "batch_size": size},
                    notes=(f"{counts[:, column].sum():g} of {pairs:.0f} pairs of documents",),
                )
            )
    return measurements


def explanation(report: Report) -> str:
    """What a flip is, and where its interval comes from."""
    return (
        "Order flips: of all pairs of a query's documents of which one is more relevant, the share that the "
        "candidate orders otherwise than the baseline; 95 % intervals come from resampled queries."
    )
