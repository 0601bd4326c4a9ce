"""When two answers are the same, for every form of an answer.

Labels, sets of labels, tags and texts are the same or not. Numbers are the same within a share of the range
of the original's; vectors where the cosine between them is at most that share below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from compress.tasks import Head, Prediction

WITHIN = 0.02


def tolerance(originals: Sequence[Prediction], head: Head, within: float = WITHIN) -> float:
    """How far apart answers may be and still be the same; 0 for what is the same or not.

    Args:
        originals: the answers that others are held against.
        head: what they mean.
        within: share of their range, for numbers; of 1, for the cosine of vectors.
    """
    if head.answer == "vector":
        return within
    if head.answer != "number" or not originals:
        return 0.0
    values: list[Any] = [prediction.value for prediction in originals]
    return float(within * np.ptp(np.asarray(values, dtype=np.float64)))


def same(
    first: Sequence[Prediction], second: Sequence[Prediction], head: Head, tolerance: float
) -> np.ndarray:
    """Whether the answers of each row are the same, bool [rows]."""
    pairs: list[tuple[Any, Any]] = [(a.value, b.value) for a, b in zip(first, second, strict=True)]
    if head.answer == "number":
        return np.array([abs(a - b) <= tolerance for a, b in pairs], dtype=bool)
    if head.answer == "vector":
        return np.array([cosines(a, b).min() >= 1 - tolerance for a, b in pairs], dtype=bool)
    return np.array([a == b for a, b in pairs], dtype=bool)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine of each pair of vectors, float64 [vectors]; 0 where one has no length.

    Args:
        first: [vectors, size].
        second: the same shape.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return np.asarray((a * b).sum(axis=-1) / np.where(lengths > 0, lengths, 1.0))
