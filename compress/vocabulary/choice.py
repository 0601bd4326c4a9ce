"""Which pieces of a vocabulary stay: those that always do, and those that text needs, the frequent first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Choice:
    """The pieces that stay.

    Attributes:
        kept: old ids in their order; the place of each is its new id.
        always: how many of them stay whatever the text is.
        wanted: how many pieces the text needs beyond those.
        left_out: how many of those have no room.
    """

    kept: tuple[int, ...]
    always: int
    wanted: int
    left_out: int

    def new_ids(self, size: int) -> np.ndarray:
        """Old id -> new id, int64 [size]; -1 where a piece goes."""
        ids = np.full(size, -1, dtype=np.int64)
        ids[list(self.kept)] = np.arange(len(self.kept))
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
    kept = set(always)
    least = len(kept)
    order = np.lexsort((np.arange(len(counts)), -counts))
    wanted = [int(piece) for piece in order[: int((counts >= max(count, 1)).sum())] if int(piece) not in kept]
    room = len(counts) if pieces is None else pieces
    taken = 0
    for piece in wanted:
        whole = {piece, *needs(piece)} - kept
        # The first one without room ends it: a rarer piece never takes the place of a more frequent one.
        if len(kept) + len(whole) > room:
            break
        kept |= whole
        taken += 1
    return Choice(tuple(sorted(kept)), least, len(wanted), len(wanted) - taken)
