"""Rows of our own for a task: what a model is tried with, and asked for the form of its inputs.

Which inputs a model takes, of which type and size, is what its processor makes of a row; nothing is guessed
from the name of an input or a field of a configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from compress.tasks import Batch, Head, Task
from compress.tasks._audio import Wave

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compress.tasks import Row

TEXTS = (
    "It was a long film, and nobody who left the room could say what it had been about, or why.",
    "The second part is better than the first one, they say.",
)
_SIDE = 64  # pixels
_SECOND = 16_000  # samples


def rows(task: Task, count: int = 2) -> list[dict[str, Any]]:
    """So many rows with what the task requires: texts of two lengths, noise for images and sounds."""
    roles = [
        (role, column.holds)
        for role, column in task.COLUMNS.items()
        if column.required and role != task.LABEL
    ]
    return [{role: _cell(holds, number) for role, holds in roles} for number in range(count)]


def has_texts(task: Task) -> bool:
    """Whether the task's rows are texts, whose length a tokenizer counts."""
    return any(column.holds in {"text", "tokens"} for column in task.COLUMNS.values())


def batch(task: Task, processor: Any, head: Head, of: Sequence[Row] | None = None) -> Batch:
    """Encoded rows of our own, or given ones, as the model sees them.

    Args:
        task: the task module.
        processor: tokenizer, image processor or feature extractor.
        head: what the model predicts.
        of: rows instead of ours.
    """
    pieces = task.pieces(list(of or rows(task)), processor, None).rows
    encoded: Batch = task.encode(pieces, processor, head, None, labelled=False)
    return encoded


def _cell(holds: str, number: int) -> Any:
    if holds == "image":
        generator = np.random.default_rng(number)
        return generator.integers(0, 256, (_SIDE, _SIDE, 3), dtype=np.uint8)
    if holds == "audio":
        frames = _SECOND // (number % 2 + 1)  # a second of noise, and half of one
        return Wave(0.1 * np.random.default_rng(number).standard_normal(frames, dtype=np.float32), _SECOND)
    if holds == "texts":
        return tuple(_cell("text", number + place) for place in range(len(TEXTS)))
    words = TEXTS[number % len(TEXTS)].split()
    turned = number // len(TEXTS) % len(words)
    words = words[turned:] + words[:turned]
    return words if holds == "tokens" else " ".join(words)
