"""What a candidate answers on some rows: predictions, and the distributions behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.lanes import feeds
from compress.errors import DataError, NothingToMeasure, UserError
from deploy.checking import divergence

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from bench.probes import Subject
    from compress.tasks import Head, Link, Prediction

EVALUATION = "evaluation"
SELECTION = "selection"


@dataclass(frozen=True)
class Answers:
    """One candidate's answers, in the order of the rows.

    A decision is what one distribution is about: a row, or a word of a row.

    Attributes:
        predictions: one a row.
        outputs: name -> float64 [decisions, classes]; empty where rows do not share one set of classes.
        owner: row of each decision, int64 [decisions].
        truth: what ``task.loss`` takes for each decision; None where rows have no labels.
        links: name -> how the last axis becomes probabilities.
    """

    predictions: list[Prediction]
    outputs: dict[str, np.ndarray]
    owner: np.ndarray
    truth: np.ndarray | None
    links: dict[str, Link]


@dataclass(frozen=True)
class Pair:
    """The original's and the candidate's answers on the same rows.

    Attributes:
        rows: as the task takes them.
        head: of both models.
        before: the original's answers.
        after: the candidate's.
        references: true values; None where rows have no labels.
    """

    rows: Sequence[dict[str, Any]]
    head: Head
    before: Answers
    after: Answers
    references: list[Any] | None


def answer(
    lane: Lane,
    subject: Subject,
    rows: Sequence[dict[str, Any]],
    size: int,
    advance: Callable[[int], None],
    key: str | None = None,
) -> Answers:
    """Run rows through a candidate.

    Args:
        lane: the candidate.
        subject: task and head.
        rows: to answer.
        size: rows at once.
        advance: called with the number of rows after each batch.
        key: under which the answers are kept for the next probe; not kept when None.
    """
    memo = ("answers", key, size)
    if key is not None and memo in lane.memo:
        advance(len(rows))
        cached: Answers = lane.memo[memo]
        return cached
    task, head = subject.task, subject.head
    labelled = bool(rows) and all(task.LABEL in row for row in rows)
    links = task.link(head)
    predictions: dict[int, Prediction] = {}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in links}
    owners: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    for picks, batch, output in feeds.stream(lane, subject, rows, size, labelled=labelled):
        predictions.update(zip(picks, task.decode(output, batch, head), strict=True))
        real = task.positions(batch)
        place = np.asarray(picks, dtype=np.int64)
        owners.append(place if real is None else np.broadcast_to(place[:, None], real.shape)[real])
        for name in links:
            array = np.asarray(output[name], dtype=np.float64)
            parts[name].append(array.copy() if real is None else array[real])
        if labelled and batch.labels is not None:
            truths.append(batch.labels if real is None else batch.labels[real])
        advance(len(picks))
    owner = np.concatenate(owners) if owners else np.zeros(0, dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    widths = {array.shape[1:] for arrays in parts.values() for array in arrays}
    answers = Answers(
        predictions=[predictions[i] for i in range(len(rows))],
        outputs={name: np.concatenate(arrays)[order] for name, arrays in parts.items()}
        if len(widths) == 1
        else {},
        owner=owner[order],
        truth=np.concatenate(truths)[order] if truths else None,
        links=links,
    )
    if key is not None:
        lane.memo[memo] = answers
    if key == EVALUATION:
        lane.memo[("predictions", size)] = answers.predictions  # where ``feeds.predict`` looks for them
    return answers


def pair(
    before: Lane,
    after: Lane,
    subject: Subject,
    rows: Sequence[dict[str, Any]],
    size: int,
    advance: Callable[[int], None],
    key: str | None = None,
) -> Pair:
    """Both models' answers on the same rows; see ``answer``."""
    task = subject.task
    labelled = bool(rows) and all(task.LABEL in row for row in rows)
    return Pair(
        rows=rows,
        head=subject.head,
        before=answer(before, subject, rows, size, advance, key),
        after=answer(after, subject, rows, size, advance, key),
        references=[task.reference(row, subject.head) for row in rows] if labelled else None,
    )


def needs_labels(pair: Pair, purpose: str) -> None:
    """Refuse rows without labels.

    Raises:
        DataError: there are none.
    """
    if pair.references is None:
        raise DataError(
            f"the evaluation rows have no labels, which {purpose} needs: give labeled rows, or look at "
            "divergence and agreement, which need none"
        )


def decided(pair: Pair, purpose: str) -> tuple[Link, np.ndarray, np.ndarray]:
    """The link and both models' distributions, float64 [decisions, classes] each.

    Args:
        pair: of answers.
        purpose: that wants them, for the message.

    Raises:
        NothingToMeasure: the task has none, or the two models made different decisions.
    """
    names = list(pair.before.outputs)
    if len(names) != 1 or names != list(pair.after.outputs):
        raise NothingToMeasure(
            f"{purpose} needs one distribution over the same classes a row; this task has none"
        )
    after, before = pair.after.outputs[names[0]], pair.before.outputs[names[0]]
    if after.shape != before.shape:
        raise NothingToMeasure(
            f"{purpose} needs both models to see the same words, and one of them cuts rows off earlier "
            f"({len(before)} and {len(after)} words): give them the same length limit"
        )
    return pair.before.links[names[0]], before.reshape(len(before), -1), after.reshape(len(after), -1)


def divergences(pair: Pair) -> np.ndarray | None:
    """Divergence of each row (the mean over its words), float64 [rows], in nats; None without outputs."""
    try:
        link, before, after = decided(pair, "the divergence")
    except UserError:
        return None
    distances = divergence.per_row(before, after, link)
    total = np.bincount(pair.before.owner, weights=distances, minlength=len(pair.rows))
    return np.asarray(total / np.maximum(np.bincount(pair.before.owner, minlength=len(pair.rows)), 1))


def confidence(answers: Answers) -> np.ndarray | None:
    """How sure a model is of each row: mean probability of what it decides; None for numbers."""
    if len(answers.outputs) != 1:
        return None
    (name,) = answers.outputs
    link, outputs = answers.links[name], answers.outputs[name]
    if link == "identity":
        return None
    if link == "softmax":
        probabilities = np.exp(divergence.log_softmax(outputs)).max(axis=-1)
    else:
        probabilities = 1 / (1 + np.exp(-np.abs(outputs.reshape(len(outputs), -1)))).mean(axis=-1)
    rows = len(answers.predictions)
    counts = np.bincount(answers.owner, minlength=rows)
    return np.asarray(
        np.bincount(answers.owner, weights=probabilities, minlength=rows) / np.maximum(counts, 1)
    )
