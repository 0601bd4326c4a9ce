"""What a candidate answers on some rows: predictions, and the distributions behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.lanes import feeds
from compress.errors import DataError, NothingToMeasure, UserError
from compress.tasks import _decisions as decisions
from compress.tasks import all_labelled
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

    A decision is what one distribution is about: a row, a word or a window of a row.

    Attributes:
        predictions: one a row.
        outputs: name -> float64 [decisions, classes]; see ``compress.tasks._decisions``.
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
    task, head = subject.task, feeds.plain(lane, subject)
    labelled = all_labelled(task, rows)
    links = task.link(head)
    pieces = feeds.own(lane, subject).pieces(rows)
    by_piece: dict[int, Prediction] = {}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in links}
    owners: list[np.ndarray] = []
    truths: list[np.ndarray] = []
    answered = 0
    for picks, batch, output in feeds.stream(lane, subject, pieces.rows, size, labelled=labelled):
        by_piece.update(zip(picks, task.decode(output, batch, head), strict=True))
        real = task.positions(batch)
        owners.append(decisions.owners(picks, links, real))
        for name, link in links.items():
            # What counts first: a vocabulary at every token is not doubled for those at a few masks.
            array = np.asarray(output[name], dtype=np.float64 if link == "positions" else None)
            parts[name].append(decisions.lines(array, link, real).astype(np.float64))
        if labelled and batch.labels is not None:
            by_row = real is None or "positions" in links.values()
            truths.append(batch.labels if by_row else batch.labels[real])
        share = len(by_piece) * len(rows) // len(pieces.rows)
        advance(share - answered)
        answered = share
    owner = np.concatenate(owners) if owners else np.zeros(0, dtype=np.int64)
    order = np.argsort(owner, kind="stable")
    undecided = task.joined([by_piece[i] for i in range(len(pieces.rows))], pieces, head)
    answers = Answers(
        predictions=feeds.decided(lane, subject, undecided, size if key == EVALUATION else None),
        outputs={
            name: decisions.joined(arrays, links[name])[order] for name, arrays in parts.items() if arrays
        },
        owner=pieces.owner[owner[order]],
        truth=np.concatenate(truths)[order] if truths else None,
        links={name: decisions.read_as(link) for name, link in links.items()},
    )
    if key is not None:
        lane.memo[memo] = answers
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
    labelled = all_labelled(task, rows)
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
    return _compared(pair, names[0], purpose)


def _compared(pair: Pair, name: str, purpose: str) -> tuple[Link, np.ndarray, np.ndarray]:
    """The link of one output, and both models' lines of it; see ``decided``."""
    after, before = pair.after.outputs[name], pair.before.outputs[name]
    if after.shape != before.shape:
        raise NothingToMeasure(
            f"{purpose} needs both models to see the same words, and one of them cuts rows off earlier "
            f"({len(before)} and {len(after)} words): give them the same length limit"
        )
    return pair.before.links[name], before.reshape(len(before), -1), after.reshape(len(after), -1)


def divergences(pair: Pair, purpose: str) -> np.ndarray:
    """Divergence of each row (the mean over its decisions), summed over outputs, float64 [rows], in nats.

    Raises:
        NothingToMeasure: the two models made different decisions.
    """
    distances = np.zeros(len(pair.before.owner))
    for name in pair.before.outputs:
        link, before, after = _compared(pair, name, purpose)
        distances = distances + divergence.per_row(before, after, link)
    total = np.bincount(pair.before.owner, weights=distances, minlength=len(pair.rows))
    return np.asarray(total / np.maximum(np.bincount(pair.before.owner, minlength=len(pair.rows)), 1))


def known_divergences(pair: Pair) -> np.ndarray | None:
    """``divergences``; None where the models made different decisions."""
    try:
        return divergences(pair, "the divergence")
    except UserError:
        return None


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
