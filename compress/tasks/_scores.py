"""Scores as sums over rows: each row gives a vector, the metrics are functions of the vectors' sum.

Classes: per class the true positives, the predictions and the references; from these three come
accuracy, F1 and Matthews' correlation, in its form for several classes (Gorodkin 2004,
"Comparing two K-category assignments by a K-category correlation coefficient", eq. 8)::

    mcc = (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2))

with s rows, c of them right, p_k predicted and t_k true in class k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from compress.errors import ModelError


def ratio(part: float, total: float) -> float:
    """Part / whole; 0 where there is nothing to divide by."""
    return float(part / total) if total else 0.0


def f1(true_positive: float, predicted: float, actual: float) -> float:
    """The harmonic mean of precision and recall, 2 tp / (predicted + actual); 0 where both are 0."""
    return ratio(2 * true_positive, predicted + actual)


def class_statistics(predicted: Sequence[int], actual: Sequence[int], classes: int) -> np.ndarray:
    """[rows, 3 K]: true positive, predicted and actual, each one-hot over the classes."""
    eye = np.eye(classes)
    guesses, true = eye[np.asarray(predicted, dtype=np.int64)], eye[np.asarray(actual, dtype=np.int64)]
    return np.concatenate([guesses * true, guesses, true], axis=1)


def class_metrics(totals: np.ndarray) -> dict[str, float]:
    """Accuracy, macro F1 (over the classes that occur on either side) and Matthews' correlation."""
    hits, guesses, true = np.split(np.asarray(totals, dtype=np.float64), 3)
    rows = true.sum()
    occurring = (guesses + true) > 0
    scores = [
        f1(*counts) for counts in zip(hits[occurring], guesses[occurring], true[occurring], strict=True)
    ]
    spread = math.sqrt(max(0.0, rows**2 - guesses @ guesses)) * math.sqrt(max(0.0, rows**2 - true @ true))
    return {
        "accuracy": ratio(hits.sum(), rows),
        "macro_f1": float(np.mean(scores)) if scores else 0.0,
        "mcc": ratio(hits.sum() * rows - guesses @ true, spread),
    }


def commonest_share(totals: np.ndarray) -> float:
    """The accuracy of the answer that is the commonest class in every row."""
    true = np.split(np.asarray(totals, dtype=np.float64), 3)[2]
    return ratio(true.max(), true.sum())


def set_statistics(
    predicted: Sequence[Sequence[int]], actual: Sequence[Sequence[int]], classes: int
) -> np.ndarray:
    """[rows, 3 K + 2]: per class hits, predicted, actual; whether the whole set is right; 1."""

    def hot(sets: Sequence[Sequence[int]]) -> np.ndarray:
        table = np.zeros((len(sets), classes))
        for row, ids in enumerate(sets):
            table[row, list(ids)] = 1
        return table

    guesses, true = hot(predicted), hot(actual)
    exact = (guesses == true).all(axis=1, keepdims=True)
    return np.concatenate(
        [guesses * true, guesses, true, exact, np.ones_like(exact)], axis=1, dtype=np.float64
    )


def set_metrics(totals: np.ndarray) -> dict[str, float]:
    """Micro F1, macro F1 (over all classes) and the share of rows whose whole set is right."""
    *_, exact, rows = totals
    hits, guesses, true = np.split(np.asarray(totals[:-2], dtype=np.float64), 3)
    scores = [f1(*counts) for counts in zip(hits, guesses, true, strict=True)]
    return {
        "micro_f1": f1(hits.sum(), guesses.sum(), true.sum()),
        "macro_f1": float(np.mean(scores)) if scores else 0.0,
        "subset_accuracy": ratio(exact, rows),
    }


def best_constant_f1(totals: np.ndarray) -> float:
    """The micro F1 of the best answer that is the same set of labels in every row.

    With ``k`` labels given in each of ``n`` rows, it is ``2 t / (k n + s)`` for the ``t`` rows' labels among
    them and the ``s`` in all, so that the best ``k`` are the commonest.
    """
    rows = float(totals[-1])
    true = np.split(np.asarray(totals[:-2], dtype=np.float64), 3)[2]
    hits = np.cumsum(np.sort(true)[::-1])
    return max(f1(hit, rows * (k + 1), true.sum()) for k, hit in enumerate(hits))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs; float64 like the values."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def number_statistics(predicted: Sequence[float], actual: Sequence[float]) -> np.ndarray:
    """[rows, 12]: 1, squared error, and the moments (x, y, xx, yy, xy) of values and of ranks.

    Values are taken from the mean of the references and ranks from their middle, which changes no
    correlation and keeps the sums well conditioned. Ranks are those in the full sample: under a
    resample, Spearman's rho is the correlation of these ranks.
    """
    x, y = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if not len(x):
        return np.zeros((0, 12))
    columns = [np.ones_like(x), (x - y) ** 2]
    middle = (len(x) + 1) / 2
    for a, b in ((x - y.mean(), y - y.mean()), (ranks(x) - middle, ranks(y) - middle)):
        columns += [a, b, a * a, b * b, a * b]
    return np.stack(columns, axis=1)


def correlation(moments: np.ndarray, rows: float) -> float:
    """Pearson's r from the sums x, y, xx, yy, xy; 0 where a side does not vary."""
    x, y, xx, yy, xy = moments
    spread_x, spread_y = rows * xx - x * x, rows * yy - y * y
    # Rounding leaves about 1e-16 of the square of the mean where a side is constant.
    if spread_x <= 1e-12 * rows * xx or spread_y <= 1e-12 * rows * yy:
        return 0.0
    return float(np.clip((rows * xy - x * y) / math.sqrt(spread_x * spread_y), -1.0, 1.0))


def number_metrics(totals: np.ndarray) -> dict[str, float]:
    """Pearson's and Spearman's correlation, and the mean squared error (lower is better)."""
    rows = float(totals[0])
    return {
        "pearson": correlation(totals[2:7], rows),
        "spearman": correlation(totals[7:12], rows),
        "mse": ratio(totals[1], rows),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, float64."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The probability of each logit by itself, float64, without overflow on either side."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1 + small)


def finite(logits: np.ndarray) -> np.ndarray:
    """The outputs as float64.

    Raises:
        ModelError: one of them is no finite number.
    """
    values = np.asarray(logits).astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ModelError(
            f"the model's output for row {row + 1} of the batch is not a finite number: "
            "it overflows in this precision, or its weights are damaged"
        )
    return values
