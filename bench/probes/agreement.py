"""How often a candidate says what the baseline says, whatever the truth is.

The share of rows with the same prediction, with Wilson's interval. Where a row has many
predictions (one a word), the share of those, with an interval from resampled rows, since the words of
one row are no independent trials. Numbers agree when they differ by at most ``within`` of the
range of the baseline's predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

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
        within: for regression: the difference that still agrees, as a share of the baseline's range.
    """

    batch_size: int | None = Field(default=None, ge=1, le=65_536)
    within: float = Field(default=0.02, gt=0, le=1e6)


def equal_counts(
    predictions: Sequence[Prediction], counterparts: Sequence[Prediction], head: Head, within: float
) -> np.ndarray:
    """How many predictions of each row agree, and how many there are: float64 [rows, 2]."""
    if head.problem == "regression":
        values = np.array(
            [[a.value, b.value] for a, b in zip(predictions, counterparts, strict=True)], dtype=np.float64
        )
        near = np.abs(values[:, 0] - values[:, 1]) <= within * np.ptp(values[:, 1])
        return np.stack([near.astype(np.float64), np.ones(len(near))], axis=1)
    counts = []
    for a, b in zip(predictions, counterparts, strict=True):
        if head.problem == "single_label" and isinstance(a.value, tuple) and isinstance(b.value, tuple):
            same = sum(x == y for x, y in zip(a.value, b.value, strict=True))
            counts.append((same, len(a.value)))
        else:
            counts.append((int(a.value == b.value), 1))
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
    """The share of predictions that are the baseline's, of every other candidate."""
    size = config.batch_size or subject.bench.batch_sizes[0]
    predictions = {}
    with log.progress("agreement", len(lanes) * len(subject.rows)) as bar:
        for lane in lanes:
            predictions[lane.name] = feeds.predict(lane, subject, size, bar.advance)
    measurements = []
    for lane in lanes:
        if lane.name == subject.baseline:
            continue
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
