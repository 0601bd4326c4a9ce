"""Whether a teacher reads rows as its student does: what one is fed is what the other is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError

if TYPE_CHECKING:
    from compress.tasks import Head, Row, Task

ROWS = 16


def check(task: Task, head: Head, rows: Sequence[Row], mine: Any, yours: Any, refusal: str) -> None:
    """Refuse two processors that turn the same rows into different inputs.

    Args:
        task: encodes the rows.
        head: of both models.
        rows: the first few are encoded.
        mine: processor of the one model.
        yours: processor of the other.
        refusal: the sentence.

    Raises:
        ModelError: an input has another name or other values.
    """
    first, second = (
        task.encode(
            task.pieces(list(rows[:ROWS]), processor, None).rows, processor, head, None, labelled=False
        ).inputs
        for processor in (mine, yours)
    )
    if first.keys() != second.keys() or any(
        not np.array_equal(array, second[name]) for name, array in first.items()
    ):
        raise ModelError(refusal)
