"""From a batch's outputs to decisions: one line for each thing that is decided, whatever the task.

A decision is a row, or a position of it that counts (a word). Where the answer is a position, as in
question answering, the decision is the row and its classes are the row's positions, whose number differs from
row to row: lines are then as wide as the longest row, and what is no position of a row is ``ABSENT``, so
that a softmax over the line gives it no probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from compress.tasks import Link

ABSENT = -1e9
"""An output so low that it has no probability in any precision, and is still a number."""


def lines(output: np.ndarray, link: Link, counts: np.ndarray | None) -> np.ndarray:
    """The decisions of one output of a batch, [decisions, classes], in the order of the rows.

    Args:
        output: [batch, classes], [batch, length, classes], or [batch, length] for ``positions``.
        link: how its last axis is read.
        counts: bool [batch, length], which positions count; None: one output a row.
    """
    if counts is None:
        return output
    if link == "positions":
        return np.where(counts, output, np.asarray(ABSENT, dtype=output.dtype))
    picked: np.ndarray = output[counts]
    return picked


def owners(
    rows: Sequence[int] | np.ndarray, links: Mapping[str, Link], counts: np.ndarray | None
) -> np.ndarray:
    """Which row each line is of, int64 [decisions].

    Args:
        rows: the numbers of the batch's rows.
        links: of its outputs.
        counts: as for ``lines``.
    """
    numbers = np.asarray(rows, dtype=np.int64)
    if counts is None or "positions" in links.values():
        return numbers
    return np.broadcast_to(numbers[:, None], counts.shape)[counts]


def joined(parts: Sequence[np.ndarray], link: Link) -> np.ndarray:
    """The lines of several batches below each other, as wide as the widest."""
    if link != "positions":
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate(
        [np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=ABSENT) for part in parts]
    )


def read_as(link: Link) -> Link:
    """How the last axis of lines is read: a softmax where it was one over positions."""
    return "softmax" if link == "positions" else link
