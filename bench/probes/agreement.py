"""How often a candidate says what the baseline says, whatever the truth is.

The share of rows with the same prediction, with Wilson's interval. Where a row has many
predictions (one a word), the share of those, with an interval from resampled rows, since the words of
one row are no independent trials. When numbers and vectors are the same is in ``bench.answers.equality``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field

from bench.answers import asking, equality
from bench.lanes import feeds
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement
from bench.statistics import stats
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from compress.tasks import Head, Prediction

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = True
FRESH = False
FIGURES = (Figure("agreement", columns=(Column("agreement", rank=50, wide=True),), rows="page"),)


class Config(Strict):
    """Options.

    Attributes:
        batch_size: rows at once; the first of the bench's batch sizes when absent.
        within: the difference that still agrees: for numbers as a share of the baseline's range, for
            vectors of the cosine from 1.
    """

    batch_size: int | None = Field(default=None, ge=1, le=65_536)
    within: float = Field(default=equality.WITHIN, gt=0, le=1e6)


def equal_counts(
    predictions: Sequence[Prediction], counterparts: Sequence[Prediction], head: Head, within: float
) -> np.ndarray:
    """How many predictions of each row agree, and how many there are: float64 [rows, 2]."""
    if head.answer != "tags":
        allowed = equality.tolerance(counterparts, head, within)
        same = equality.same(predictions, counterparts, head, allowed)
        return np.stack([same.astype(np.float64), np.ones(len(same))], axis=1)
    values: list[tuple[Any, Any]] = [
        (a.value, b.value) for a, b in zip(predictions, counterparts, strict=True)
    ]
    counts = [(sum(x == y for x, y in zip(a, b, strict=True)), len(a)) for a, b in values]
    return np.array(counts, dtype=np.float64).reshape(-1, 2)


def share(counts: np.ndarray, generator: np.random.Generator) -> tuple[float, stats.Interval | None]:
    """The share that agrees, with its interval.

    Args:
        counts: from ``equal_counts``.
        generator: of resamples, where rows hold more than one prediction.
    """
    equal, total = counts.sum(axis=0)
    value = float(equal / total) if total else float("nan")
    if (counts[:, 1] == 1).all():
        return value, stats.wilson(float(equal), len(counts))
    totals = stats.resample_weights(len(counts), generator).astype(np.float64) @ counts
    with np.errstate(invalid="ignore"):
        return value, stats.interval(totals[:, 0] / totals[:, 1])


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The share of predictions that are the baseline's, of every other candidate.

    Raises:
        NothingToMeasure: vectors of another size than the baseline's.
    """
    rivals = asking.against(lanes, subject, "agreement")
    size = config.batch_size or subject.bench.batch_sizes[0]
    predictions = {}
    with log.progress("agreement", len(lanes) * len(subject.rows)) as bar:
        for lane in lanes:
            predictions[lane.name] = feeds.predict(lane, subject, size, bar.advance)
    measurements = []
    for lane in rivals:
        counts = equal_counts(
            predictions[lane.name], predictions[subject.baseline], subject.head, config.within
        )
        value, interval = share(counts, np.random.default_rng([subject.seed, 7]))
        measurements.append(
            Measurement(
                probe="agreement",
                candidate=lane.name,
                metric="agreement",
                value=value,
                unit=UNIT,
                better=BETTER,
                interval=interval,
                conditions={"rows": len(subject.rows), "batch_size": size},
                notes=(f"{counts[:, 1].sum() - counts[:, 0].sum():.0f} predictions differ",),
            )
        )
    return measurements
