"""What a model learns from: the pieces of rows that a model sees, or whole rows where the loss wants them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from compress.tasks import Row, Task


def examples(task: Task, rows: Sequence[Row], processor: Any, max_length: int | None) -> Sequence[Row]:
    """Rows as ``encode`` takes them for a loss by labels.

    Args:
        task: the task module.
        rows: labelled ones, aligned with the head.
        processor: tokenizer, image processor or feature extractor.
        max_length: token limit.
    """
    if task.WHOLE_ROWS or len(rows) == 0:
        return rows
    return task.pieces(rows, processor, max_length).rows
