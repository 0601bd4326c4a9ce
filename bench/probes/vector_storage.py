"""What an embedder's figures are where its vectors are stored small: as int8, or as one bit a dimension.

A million vectors of 384 float32 numbers take 1.5 GB; as int8 a quarter of that, as bits one thirty-second.
The candidate's own vectors of the evaluation rows are stored, queries and documents alike, and scored again:

    float32     as they are
    int8        256 steps between the smallest and the largest value of each dimension, read back as numbers
    int8-codes  the same codes, compared as whole numbers, as an index does that knows no ranges
    binary      the signs, packed; compared by Hamming distance, which orders as the cosine of signs does

Codes and bits are those of ``quantize_embeddings`` in sentence-transformers. Ranges come from the vectors of
selection rows, never of those that measure. Changes are against the same candidate's float vectors, on the
same resamples (bootstrap over rows, or over queries).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field

from bench.answers import answers, asking
from bench.answers.asking import DamageConfig
from bench.lanes import feeds
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from bench.statistics import stats
from compress import log, tasks
from compress.errors import DataError, NothingToMeasure, UserError

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from compress.tasks import Prediction

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = False
FRESH = False
_TABLE = "Vectors as stored"
FIGURES = (
    Figure(
        "stored_*",
        title="stored {}",
        columns=(Column(rank=10, table=_TABLE), Column("against float", 11, "change", _TABLE)),
        gate="vector-storage",
    ),
)
FLOAT = "float32"


class Config(DamageConfig):
    """Options.

    Attributes:
        ranges: selection rows whose vectors give the ranges of int8.
        metrics: of the task; its main one when empty.
    """

    ranges: int = Field(default=1000, ge=2, le=10**6)
    metrics: tuple[str, ...] = ()


def ranges(vectors: np.ndarray) -> np.ndarray:
    """The smallest and the largest value of each dimension, float32 [2, size]."""
    return np.stack([vectors.min(axis=0), vectors.max(axis=0)]).astype(np.float32)


def codes(vectors: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Vectors as int8: the step between the limits of its dimension that each number lies in."""
    starts, steps = limits[0], _steps(limits)
    return (np.clip(np.floor((vectors - starts) / steps), 0, 255) - 128).astype(np.int8)


def values(stored: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Codes as numbers: the middle of each step, float32."""
    middles = limits[0] + (stored.astype(np.float32) + 128.5) * _steps(limits)
    return np.asarray(middles, dtype=np.float32)


def _steps(limits: np.ndarray) -> np.ndarray:
    steps = (limits[1] - limits[0]) / 255
    return np.where(steps == 0, 1, steps)


def bits(vectors: np.ndarray) -> np.ndarray:
    """One bit a dimension, on where it is above 0, packed: uint8 [..., size / 8]."""
    return np.packbits(vectors > 0, axis=-1)


def signs(stored: np.ndarray, size: int) -> np.ndarray:
    """Packed bits as 1 and -1. Their cosine is 1 - 2 h / size, where h is the Hamming distance."""
    return np.unpackbits(stored, axis=-1, count=size).astype(np.float32) * 2 - 1


def stored(
    predictions: Sequence[Prediction], limits: np.ndarray | None
) -> dict[str, tuple[int, list[Prediction]]]:
    """Bytes of a vector and what is compared, by the form that vectors are stored in.

    Args:
        predictions: of an embedder.
        limits: of each dimension; the forms of int8 are left out where there are none.
    """
    vectors: list[Any] = [prediction.value for prediction in predictions]
    size = int(vectors[0].shape[-1])
    forms: dict[str, tuple[int, list[Any]]] = {FLOAT: (4 * size, vectors)}
    if limits is not None:
        rounded = [codes(rows, limits) for rows in vectors]
        forms["int8"] = (size, [values(rows, limits) for rows in rounded])
        forms["int8-codes"] = (size, [rows.astype(np.float32) for rows in rounded])
    forms["binary"] = (-(-size // 8), [signs(bits(rows), size) for rows in vectors])
    return {
        name: (
            count,
            [replace(p, value=rows, label=rows) for p, rows in zip(predictions, compared, strict=True)],
        )
        for name, (count, compared) in forms.items()
    }


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The task's metrics of every candidate with its vectors in each form.

    Raises:
        NothingToMeasure: the task makes no vectors.
        DataError: the evaluation rows have no labels.
    """
    if subject.head.answer != "vector":
        raise NothingToMeasure("vectors are stored where a model makes some, and this task makes none")
    if not tasks.all_labelled(subject.task, subject.rows):
        raise DataError(
            "the evaluation rows have no labels, which figures of stored vectors need: give labeled rows, or "
            "leave vector-storage out"
        )
    size = config.batch_size or subject.bench.batch_sizes[0]
    tuning, missing = asking.tuning(subject)
    if missing is not None:
        log.warning("vector-storage: int8 needs ranges from selection rows and is left out: %s.", missing)
    tuning, key = list(tuning[: config.ranges]), f"{answers.SELECTION} {config.ranges}"
    measurements = []
    with log.progress("vector-storage", len(lanes) * (len(subject.rows) + len(tuning))) as bar:
        for lane in lanes:
            limits, note = None, f"no int8: {missing}"
            if missing is None:
                answered = answers.answer(lane, subject, tuning, size, bar.advance, key)
                spread = np.concatenate([np.asarray(answer.value) for answer in answered.predictions])
                limits, note = ranges(spread), f"ranges from {len(spread)} vectors of selection rows"
            predictions = feeds.predict(lane, subject, size, bar.advance)
            forms = stored(predictions, limits)
            measurements += figures(lane.name, forms, subject, size, note, config.metrics)
    return measurements


def figures(
    name: str,
    forms: Mapping[str, tuple[int, list[Prediction]]],
    subject: Subject,
    size: int,
    note: str,
    metrics: Sequence[str] = (),
) -> list[Measurement]:
    """Metrics of one candidate in each form.

    Args:
        name: of the candidate.
        forms: from ``stored``, the float vectors first.
        subject: task, rows and head.
        size: rows at once.
        note: said of the forms that are not float.
        metrics: of the task; its main one when empty.

    Raises:
        UserError: the task has no metric of a name on these rows.
    """
    task, head = subject.task, subject.head
    references = [task.reference(row, head) for row in subject.rows]
    weights: np.ndarray | None = None
    chosen: tuple[str, ...] = ()
    float_drawn: dict[str, np.ndarray] = {}
    float_values: dict[str, float] = {}
    units = "rows" if task.groups(subject.rows) is None else "queries"
    measurements = []
    for form, (count, predictions) in forms.items():
        statistics = np.asarray(task.statistics(predictions, references, head), dtype=np.float64)
        if weights is None:
            weights = stats.resample_weights(len(statistics), np.random.default_rng([subject.seed, 17]))
        drawn = stats.resampled_metrics(statistics, lambda totals: dict(task.metrics(totals, head)), weights)
        scores = task.metrics(statistics.sum(axis=0), head)
        if form == FLOAT:
            float_drawn, float_values = drawn, scores
            chosen = tuple(metrics) or (next(iter(scores)),)
            unknown = [metric for metric in chosen if metric not in scores]
            if unknown:
                raise UserError(
                    f"vector-storage: metrics names '{unknown[0]}', and the figures of these rows are "
                    f"{', '.join(scores)}: name some of those"
                )
        notes = () if form == FLOAT else (f"against the float vectors of '{name}'", note)
        for metric in chosen:
            declared, score = tasks.metric(task, metric), scores[metric]
            measurements.append(
                Measurement(
                    probe="vector_storage",
                    candidate=name,
                    metric=f"stored_{metric}",
                    value=score,
                    unit=declared.unit,
                    better=declared.better,
                    interval=stats.interval(drawn[metric]),
                    difference=score - float_values[metric],
                    difference_interval=stats.interval(drawn[metric] - float_drawn[metric]),
                    conditions={"storage": form, "bytes": count, "batch_size": size},
                    notes=(f"{len(statistics)} {units}", *notes),
                )
            )
    return measurements


def explanation(report: Report) -> str:
    """What was stored, and what a change is against."""
    return (
        "Vectors as stored: each candidate's vectors as float32, as int8 (read back by the ranges of "
        "selection rows, or compared as codes) and as bits (Hamming distance), with the bytes of one vector. "
        "Changes are against the same candidate's float vectors, paired, from a bootstrap."
    )
