"""Which figure is compared, and which parts an answer has: the same for every task.

Rows with one label are right or wrong, so that their score is a share. Sets of labels and tagged
words are scored by the task's main metric, numbers by their absolute error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.statistics.resampling import Metric
from compress import tasks
from compress.errors import NothingToMeasure

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from compress.tasks import Head, Prediction, Task

Part = tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """A figure of both models as sums over rows.

    Attributes:
        name: such as ``accuracy``.
        unit: ``share`` or ``error``.
        better: which direction is good.
        before: the original's row statistics, float64 [rows, k].
        after: the candidate's.
        of: from summed statistics to the figure.
        binary: whether the first column is right or wrong and the figure their mean.
    """

    name: str
    unit: str
    better: Literal["lower", "higher"]
    before: np.ndarray
    after: np.ndarray
    of: Metric
    binary: bool

    def only(self, mask: np.ndarray) -> Score:
        """The same on some of the rows."""
        return Score(
            self.name,
            self.unit,
            self.better,
            self.before[mask],
            self.after[mask],
            self.of,
            self.binary,
        )

    def values(self) -> tuple[float, float]:
        """The original's figure and the candidate's."""
        return self.of(self.before.sum(axis=0)), self.of(self.after.sum(axis=0))

    def discordant(self) -> tuple[int, int]:
        """Of a binary score: rows that only the original has right, and only the candidate."""
        after, before = self.after[:, 0] > 0, self.before[:, 0] > 0
        return int((before & ~after).sum()), int((after & ~before).sum())


def _mean(totals: np.ndarray) -> float:
    return float(totals[0] / totals[1]) if totals[1] else 0.0


def right(predictions: Sequence[Prediction], references: Sequence[Any], task: Task) -> np.ndarray:
    """Whether each answer is the truth as a whole, bool [rows]."""
    return np.array(
        [task.right(prediction, true) for prediction, true in zip(predictions, references, strict=True)],
        dtype=bool,
    )


def errors(predictions: Sequence[Prediction], references: Sequence[Any]) -> np.ndarray:
    """Absolute error of numbers, float64 [rows]."""
    values: list[Any] = [prediction.value for prediction in predictions]
    return np.abs(np.asarray(values, dtype=np.float64) - np.asarray(references, dtype=np.float64))


def score(pair: Pair, task: Task) -> Score:
    """What is compared on labeled rows.

    Args:
        pair: with references.
        task: that scores sets and tags.

    Raises:
        NothingToMeasure: the task scores no row by itself.
    """
    if not pair.head.checkable:
        raise NothingToMeasure(
            "this compares figures of single rows, and the task scores rows together: look at accuracy"
        )
    head, references = pair.head, pair.references or []
    sides = (pair.before.predictions, pair.after.predictions)
    if head.problem == "regression":
        before, after = (_with_ones(errors(side, references)) for side in sides)
        return Score("mean absolute error", "error", "lower", before, after, _mean, binary=False)
    if head.answer == "label":
        before, after = (_with_ones(right(side, references, task).astype(np.float64)) for side in sides)
        return Score("accuracy", "share", "higher", before, after, _mean, binary=True)
    before, after = (np.asarray(task.statistics(side, references, head), dtype=np.float64) for side in sides)
    name = next(iter(task.metrics(before.sum(axis=0), head)))

    def metric(totals: np.ndarray) -> float:
        return float(task.metrics(totals, head)[name])

    declared = tasks.metric(task, name)
    return Score(name, declared.unit, declared.better, before, after, metric, binary=False)


def _with_ones(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones(len(values))], axis=1)


def named(value: Any, head: Head) -> Any:
    """An aligned value (a reference) in label names; a number as it is, the first of several right texts."""
    if head.answer in ("tags", "labels"):
        return tuple(head.labels[i] if i >= 0 else "O" for i in value)
    if head.answer == "text":
        return value[0] if value else ""
    return head.labels[value] if head.answer == "label" else value


def in_words(value: Any) -> str:
    """A label, a set of labels, tags or a number as text."""
    if isinstance(value, tuple | list):
        return " ".join("(cut off)" if part is None else str(part) for part in value) or "(none)"
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "(none)"


def parts(names: Any, head: Head) -> frozenset[Part]:
    """The parts of an answer in label names; the first item of each is its class.

    A label; each label of a set; each entity of tagged words with its place, or each tagged word where
    the tags mark no chunks. A word that was cut off is no part.
    """
    if head.answer == "tags":
        if any(label[:2] in {"B-", "S-"} for label in head.labels):
            from compress.tasks.token_classification import entities

            clean = [name or "O" for name in names]
            return frozenset((kind, str(first), str(last)) for kind, first, last in entities(clean))
        return frozenset((name, str(place)) for place, name in enumerate(names) if name is not None)
    if isinstance(names, tuple):
        return frozenset((str(name),) for name in names)
    return frozenset({(str(names),)})


def class_score(
    pair: Pair, label: str, true: Sequence[frozenset[Part]], sides: Sequence[Sequence[frozenset[Part]]]
) -> Score:
    """F1 of one class over all rows.

    Args:
        pair: of answers.
        label: the class.
        true: parts of each reference.
        sides: parts of each answer, the original's and the candidate's.
    """

    def counts(guesses: Sequence[frozenset[Part]]) -> np.ndarray:
        table = np.zeros((len(guesses), 3))
        for row, (guessed, actual) in enumerate(zip(guesses, true, strict=True)):
            guessed_parts = {part for part in guessed if part[0] == label}
            actual_parts = {part for part in actual if part[0] == label}
            table[row] = (len(guessed_parts & actual_parts), len(guessed_parts), len(actual_parts))
        return table

    def f1(totals: np.ndarray) -> float:
        return float(2 * totals[0] / (totals[1] + totals[2])) if totals[1] + totals[2] else 0.0

    before, after = (counts(side) for side in sides)
    return Score(f"F1 of {label}", "share", "higher", before, after, f1, binary=False)
