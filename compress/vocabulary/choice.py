"""Which pieces of a vocabulary stay: those that always do, and those that text needs, the frequent first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Choice:
    """The pieces that stay.

    Attributes:
        old_ids: old ids in their order; the place of each is its new id.
        always: how many of them stay whatever the text is.
        needed: how many pieces the text needs beyond those.
        left_out: how many of those have no room.
    """

    old_ids: tuple[int, ...]
    always: int
    needed: int
    left_out: int

    def new_ids(self, size: int) -> np.ndarray:
        """Old id -> new id, int64 [size]; -1 where a piece goes."""
        ids = np.full(size, -1, dtype=np.int64)
        ids[list(self.old_ids)] = np.arange(len(self.old_ids))
        return ids


def choose(
    counts: np.ndarray,
    always: Iterable[int],
    needs: Callable[[int], Iterable[int]],
    *,
    count: int = 1,
    pieces: int | None = None,
) -> Choice:
    """Choose the pieces that stay.

    Args:
        counts: how often each piece occurs in the text, int64 [ids].
        always: ids that stay in any case.
        needs: id -> the ids that it cannot be built without.
        count: occurrences that a piece needs to stay.
        pieces: the most that stay, all together; None for as many as the text needs.
    """
    old_ids = set(always)
    least = len(old_ids)
    order = np.lexsort((np.arange(len(counts)), -counts))
    needed = [
        int(piece) for piece in order[: int((counts >= max(count, 1)).sum())] if int(piece) not in old_ids
    ]
    room = len(counts) if pieces is None else pieces
    fitting = 0
    for piece in needed:
        closure = {piece, *needs(piece)} - old_ids
        # The first one without room ends it: a rarer piece never takes the place of a more frequent one.
        if len(old_ids) + len(closure) > room:
            break
        old_ids |= closure
        fitting += 1
    return Choice(tuple(sorted(old_ids)), least, len(needed), len(needed) - fitting)
