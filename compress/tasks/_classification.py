"""What tasks share that give one output a row: one label, several, or a number.

Which of the three it is comes from the data (lists: several labels; floats without label names: a
number) or from the model's head (``problem_type``). Scores: accuracy, macro F1 and Matthews'
correlation; micro F1, macro F1 and subset accuracy; Pearson, Spearman and mean squared error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import log
from compress.errors import DataError
from compress.tasks import Batch, Head, Link, Metric, Prediction, Problem, Row
from compress.tasks import _heads as heads
from compress.tasks import _scores as scores
from compress.tasks import _thresholds as thresholds

if TYPE_CHECKING:
    import torch

LABEL = "label"
LABEL_ALIASES = ("labels", "class", "category", "target", "intent", "sentiment", "score", "stars")


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """The head that the label cells ask for.

    Lists mean several labels a row; floats without label names a regression, unless they are 0.0 and 1.0
    alone, as a table library writes two classes of a column that once had a gap; anything else one label a
    row.

    Raises:
        DataError: there are no labels, one class only, or kinds that do not go together.
    """
    present = [cell for cell in labels if cell is not None]
    if not present:
        raise DataError("the training rows have no labels, so they do not say which head the model needs")
    lists = sum(isinstance(cell, list | tuple) for cell in present)
    if lists:
        if lists < len(present):
            raise DataError("some label cells are lists and some are not: write all of them as lists")
        return Head("multi_label", _set_names(present, names))
    if names is None and all(isinstance(cell, float) for cell in present):
        heads.align_numbers(present)
        if set(present) != {0.0, 1.0}:
            if all(cell.is_integer() for cell in present):
                log.warning(
                    "the labels are whole numbers written with a point (%s): they are taken as numbers to "
                    "predict; for classes write them as integers, or name them in data.labels",
                    heads.listed(sorted(set(present)), 5),
                )
            return Head("regression", ())
        log.warning(
            "the labels are 0.0 and 1.0 in every row: they are taken as two classes, '0' and '1', and not as "
            "numbers to predict"
        )
    return Head("single_label", heads.class_names(present, names))


def _set_names(cells: Sequence[Sequence[Any]], names: Sequence[str] | None) -> tuple[str, ...]:
    if names:
        return tuple(names)
    form = heads.set_form(cells)
    if form == "either":
        raise heads.ambiguous_sets(cells)
    if form == "vectors":
        return tuple(f"LABEL_{i}" for i in range(len(cells[0])))
    return heads.class_names([item for cell in cells for item in cell], None)


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
    """Class ids, sorted tuples of them, or numbers; see the contract."""
    if head.problem == "regression":
        return heads.align_numbers(cells)
    if head.problem == "multi_label":
        return heads.align_sets(cells, names, head)
    return heads.align_classes(cells, names, head)


def targets(rows: Sequence[Row], head: Head) -> np.ndarray | None:
    """What ``loss`` takes: int64 [rows], or float32 [rows] or [rows, labels]; None unless all are labeled."""
    if not all(LABEL in row for row in rows):
        return None
    cells = [row[LABEL] for row in rows]
    if head.problem == "single_label":
        return np.asarray(cells, dtype=np.int64)
    if head.problem == "regression":
        return np.asarray(cells, dtype=np.float32)
    table = np.zeros((len(rows), len(head.labels)), dtype=np.float32)
    for row, ids in enumerate(cells):
        table[row, list(ids)] = 1
    return table


def link(head: Head) -> dict[str, Link]:
    """How the logits become probabilities."""
    kinds: dict[Problem, Link] = {
        "single_label": "softmax",
        "multi_label": "sigmoid",
        "regression": "identity",
    }
    return {"logits": kinds[head.problem]}


def positions(batch: Batch) -> None:
    """One output a row."""
    return


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Cross entropy, binary cross entropy or mean squared error, a scalar."""
    from torch.nn import functional

    logits = outputs["logits"].float()
    if head.problem == "regression":
        return functional.mse_loss(logits.reshape(-1), labels.float())
    if head.problem == "multi_label":
        return functional.binary_cross_entropy_with_logits(logits, labels.float())
    return functional.cross_entropy(logits, labels)


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """The likeliest class, the classes of at least one half (or their thresholds), or the number."""
    logits = scores.finite(outputs["logits"])
    if head.problem == "regression":
        return [Prediction(value=float(value), label=float(value)) for value in logits.reshape(-1)]
    if head.problem == "multi_label":
        shares = [tuple(row.tolist()) for row in scores.sigmoid(logits)]
        return decided([Prediction(value=(), label=(), scores=row) for row in shares], head)
    return [
        Prediction(value=best, label=head.labels[best], probabilities=tuple(row.tolist()))
        for best, row in zip(logits.argmax(axis=-1).tolist(), scores.softmax(logits), strict=True)
    ]


def decided(predictions: Sequence[Prediction], head: Head) -> list[Prediction]:
    """Sets of labels by their probabilities: of at least one half, or of at least their thresholds."""
    if head.problem != "multi_label":
        return list(predictions)
    least = head.thresholds or (0.5,) * len(head.labels)
    sets = [
        tuple(
            i for i, (share, bound) in enumerate(zip(row.scores or (), least, strict=True)) if share >= bound
        )
        for row in predictions
    ]
    return [
        replace(row, value=ids, label=tuple(head.labels[i] for i in ids))
        for row, ids in zip(predictions, sets, strict=True)
    ]


def fitted(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> tuple[float, ...]:
    """A threshold for each label, which together have the highest micro F1 on some rows.

    Micro F1 is ``2 t / (g + r)`` for ``t`` right among ``g`` given labels and ``r`` true ones. For a guess
    ``f`` of its best, each label by itself maximizes ``sum (2 y - f)`` over the rows where it is given; the
    F1 that they reach is the next guess, until it grows no more (Dinkelbach 1967).

    Raises:
        DataError: the head is not of labels that hold each by itself, or there are no rows.
    """
    if head.problem != "multi_label":
        raise DataError(
            "thresholds are fitted where labels hold each by itself, and this model gives one answer: leave "
            "fit-threshold out"
        )
    if not predictions:
        raise DataError("there are no selection rows to fit thresholds on: give data.selection")
    shares = np.asarray([prediction.scores for prediction in predictions], dtype=np.float64)
    true = np.zeros_like(shares)
    for row, ids in enumerate(references):
        true[row, list(ids)] = 1
    guess, chosen = 0.0, np.full(len(head.labels), 0.5)
    while True:
        bounds = np.array(
            [
                thresholds.best(shares[:, label], 2 * true[:, label] - guess, np.zeros(len(shares)), 0.5)
                for label in range(len(head.labels))
            ]
        )
        given = shares >= bounds
        reached = scores.f1(float((given * true).sum()), float(given.sum()), float(true.sum()))
        if reached <= guess:
            return tuple(float(np.clip(bound, 0.0, 1.0)) for bound in chosen)
        guess, chosen = reached, bounds


def reference(row: Row, head: Head) -> int | float | tuple[int, ...]:
    """The aligned label of a row."""
    value: int | float | tuple[int, ...] = row[LABEL]
    return value


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """Additive statistics of each row, float64; see ``_scores``."""
    values: list[Any] = [prediction.value for prediction in predictions]
    if head.problem == "regression":
        return scores.number_statistics(values, references)
    if head.problem == "multi_label":
        return scores.set_statistics(values, references, len(head.labels))
    return scores.class_statistics(values, references, len(head.labels))


METRICS = (
    Metric("accuracy", of_rows=True, blind="the share of the commonest label"),
    Metric("mcc", unit="correlation", title="Matthews correlation"),
    Metric("micro_f1", blind="what the best constant set of labels gets", title="micro F1"),
    Metric("macro_f1", title="macro F1"),
    Metric("subset_accuracy", of_rows=True),
    Metric("pearson", unit="correlation", blind="what a constant number gets", title="Pearson correlation"),
    Metric("spearman", unit="correlation", title="Spearman correlation"),
    Metric("mse", unit="squared", better="lower", title="mean squared error"),
)


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """The figures of the problem, the main one first."""
    if head.problem == "regression":
        return scores.number_metrics(totals)
    if head.problem == "multi_label":
        return scores.set_metrics(totals)
    return scores.class_metrics(totals)


def blind(totals: np.ndarray, head: Head) -> float:
    """Of the commonest class, of the best constant set of labels, or of a constant number, which is 0."""
    if head.problem == "regression":
        return 0.0
    if head.problem == "multi_label":
        return scores.best_constant_f1(totals)
    return scores.commonest_share(totals)
