"""What a smaller vocabulary does to text that had no say in it: how much longer it gets, how much unknown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compress.errors import ModelError
from compress.vocabulary.texts import Text, read


@dataclass(frozen=True)
class Effect:
    """Held-out texts, read before and after.

    Attributes:
        texts: that were read.
        unchanged: how many are read as before, piece by piece.
        tokens_before: of all texts together, the marks around them included.
        tokens_after: the same with the smaller vocabulary.
        unknown_before: unknown pieces among them.
        unknown_after: the same with the smaller vocabulary.
    """

    texts: int
    unchanged: int
    tokens_before: int
    tokens_after: int
    unknown_before: int
    unknown_after: int

    @property
    def growth(self) -> float:
        """By which share of its length the text grows."""
        return self.tokens_after / self.tokens_before - 1

    @property
    def unknown(self) -> float:
        """Which share of the pieces is unknown that was not before."""
        return self.unknown_after / self.tokens_after - self.unknown_before / self.tokens_before

    def facts(self) -> dict[str, Any]:
        """Counts and shares, as JSON values."""
        return {**asdict(self), "growth": self.growth, "unknown": self.unknown}

    def __str__(self) -> str:
        """In words."""
        return (
            f"{100 * self.growth:+.2f} % tokens ({self.tokens_before:,} to {self.tokens_after:,}), unknown "
            f"pieces {_percent(self.unknown_before, self.tokens_before)} to "
            f"{_percent(self.unknown_after, self.tokens_after)}, {self.unchanged:,} of {self.texts:,} texts "
            "are read as before"
        )


def _percent(part: int, total: int) -> str:
    return f"{100 * part / total:.3f} %"


def measure(
    texts: Sequence[Text], before: Any, after: Any, new_ids: np.ndarray, unknown: int | None
) -> Effect:
    """Read held-out texts with both tokenizers.

    Args:
        texts: at least one.
        before: the tokenizer as it was.
        after: the tokenizer with the pieces that stay.
        new_ids: old id -> new id; -1 where a piece goes.
        unknown: old id of the unknown piece; None where there is none.

    Raises:
        ModelError: a text whose pieces all stay is read otherwise.
    """
    unchanged, tokens, missing = 0, [0, 0], [0, 0]
    fresh_unknown = None if unknown is None else int(new_ids[unknown])
    for old, new in zip(read(texts, before), read(texts, after), strict=True):
        same = bool(np.array_equal(new_ids[np.asarray(old, dtype=np.int64)], new))
        unchanged += same
        # A word without any way through its vocabulary may find one when a piece is gone: not that one.
        if not same and (new_ids[old] >= 0).all() and unknown not in old:
            raise ModelError(
                f"the smaller tokenizer reads a text of {len(old)} tokens otherwise, although none of its "
                "pieces went: its file has a part that this stage does not know; leave trim-vocabulary out"
            )
        for side, ids, number in ((0, old, unknown), (1, new, fresh_unknown)):
            tokens[side] += len(ids)
            missing[side] += 0 if number is None else ids.count(number)
    return Effect(len(texts), unchanged, tokens[0], tokens[1], missing[0], missing[1])
