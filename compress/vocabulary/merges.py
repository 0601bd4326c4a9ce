"""The merges of byte-pair encoding: what a piece is built from, and which pieces building it goes through.

A text is split into symbols, and of all neighbours that a merge joins, those of the lowest rank are joined
first. Within the symbols of one final piece nothing outside it matters: they are joined as if they stood
alone. So a text whose final pieces are all there is read as before, if the merges on the way to each of them,
and the pieces that they make, are there as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Pair = tuple[str, str]


class Merges:
    """Merges in their order."""

    def __init__(self, pairs: Sequence[Pair], prefix: str = "") -> None:
        """Rank the pairs.

        Args:
            pairs: the first one is joined first.
            prefix: that pieces within a word begin with, which a merge drops.
        """
        self._dropped = len(prefix)
        self._ranks = {pair: rank for rank, pair in reversed(list(enumerate(pairs)))}
        self._makers: dict[str, Pair] = {}
        for pair in pairs:
            if all(pair):
                self._makers.setdefault(self.joined(pair), pair)

    def joined(self, pair: Pair) -> str:
        """What a merge makes of a pair."""
        return pair[0] + pair[1][self._dropped :]

    def symbols(self, piece: str) -> list[str]:
        """What a piece consists of before anything is joined; the piece itself where no merge makes it."""
        waiting, leaves = [piece], []
        while waiting:
            part = waiting.pop()
            maker = self._makers.get(part)
            if maker is None:
                leaves.append(part)
            else:
                waiting += reversed(maker)
            if len(waiting) + len(leaves) > len(piece):  # more than characters: the merges run in a circle
                return [piece]
        return leaves

    def parts(self, piece: str) -> frozenset[str]:
        """The pieces that building a piece goes through, itself and its symbols among them.

        A piece that joining its symbols does not give (no text reaches it by merges) needs itself alone.
        """
        symbols = self.symbols(piece)
        passed = {piece, *symbols}
        while len(symbols) > 1:
            ranks = [
                self._ranks.get((first, second), len(self._ranks)) for first, second in pairwise(symbols)
            ]
            lowest = min(ranks)
            if lowest == len(self._ranks):
                return frozenset({piece})
            at = ranks.index(lowest)
            symbols[at : at + 2] = [self.joined((symbols[at], symbols[at + 1]))]
            passed.add(symbols[at])
        return frozenset(passed)
