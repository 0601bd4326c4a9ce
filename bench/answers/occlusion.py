"""Which words an answer rests on: the probability that is lost when a word is left out (occlusion).

Leave-one-out (Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation
Erasure", eq. 1, on probabilities). It asks for predictions only, so that both models are explained in the
runtime that ships, an ONNX graph like a PyTorch model; gradients do not exist in the former.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.answers.shown import Attribution

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from compress.tasks import Task

METHOD = "occlusion: probability of the original's answer, less the same without the word"
_MOST = 48
_WORDS = re.compile(r"\S+")
Answer = Callable[[Sequence[dict[str, Any]]], "Pair"]


def unsuited(task: Task, pair: Pair) -> str | None:
    """Why rows cannot be explained by leaving words out; None where they can."""
    if not any(column.holds == "text" for column in task.COLUMNS.values()):
        return "words are weighed only where rows are texts"
    if pair.before.predictions[0].probabilities is None:
        return "words are weighed only where a row has one label with a probability"
    return None


def spans(row: Mapping[str, Any], task: Task) -> list[tuple[str, int, int]]:
    """Role, start and end of each piece that is left out: words, or runs of words in long texts."""
    words = [
        (role, match.start(), match.end())
        for role, column in task.COLUMNS.items()
        if column.holds == "text" and role in row
        for match in _WORDS.finditer(row[role])
    ]
    width = -(-len(words) // _MOST)
    pieces: list[tuple[str, int, int]] = []
    for role in dict.fromkeys(word[0] for word in words):
        role_words = [word for word in words if word[0] == role]
        pieces += [
            (role, role_words[at][1], role_words[min(at + width, len(role_words)) - 1][2])
            for at in range(0, len(role_words), width or 1)
        ]
    return pieces


def without(row: Mapping[str, Any], span: tuple[str, int, int]) -> dict[str, Any]:
    """The row without a piece of one of its texts."""
    role, start, end = span
    text = f"{row[role][:start].rstrip()} {row[role][end:].lstrip()}".strip()
    return {**row, role: text}


def explain(pair: Pair, picks: Sequence[int], task: Task, answer: Answer) -> dict[int, Attribution]:
    """The words of some rows.

    Args:
        pair: of answers on all rows.
        picks: row numbers, from 0.
        task: whose texts are taken apart.
        answer: both models' answers on given rows.
    """
    pieces = {i: spans(pair.rows[i], task) for i in picks}
    variants = [without(pair.rows[i], span) for i in picks for span in pieces[i]]
    if not variants:
        return {}
    reduced = answer([{key: cell for key, cell in row.items() if key != task.LABEL} for row in variants])
    at = 0
    attributions = {}
    for i in picks:
        count = len(pieces[i])
        label: Any = pair.before.predictions[i].value
        weights = []
        for intact, side in ((pair.before, reduced.before), (pair.after, reduced.after)):
            full = np.asarray(intact.predictions[i].probabilities)[label]
            less = [
                np.asarray(prediction.probabilities)[label]
                for prediction in side.predictions[at : at + count]
            ]
            weights.append(tuple(float(full - probability) for probability in less))
        attributions[i] = Attribution(
            answer=str(pair.before.predictions[i].label),
            words=tuple(pair.rows[i][role][start:end] for role, start, end in pieces[i]),
            before=weights[0],
            after=weights[1],
        )
        at += count
    return attributions
