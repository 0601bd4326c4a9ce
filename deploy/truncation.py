"""How many rows a length limit cut, and whose limit it was: counted, and said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveInt

from compress.model.limit import Limit, Whose
from compress.strict import Strict

if TYPE_CHECKING:
    from compress.tasks import Row
    from deploy.encoder import Encoder


class Truncation(Strict):
    """What a length limit did to some rows.

    Attributes:
        rows: that were encoded.
        cut: of those, how many were longer than the limit.
        limit: tokens (or another unit); None where nothing is cut.
        unit: of the limit.
        whose: who set the limit; None where the artifact does not say.
        beyond_baseline: rows of which the baseline sees more; None where there is no baseline beside it.
    """

    rows: NonNegativeInt
    cut: NonNegativeInt
    limit: PositiveInt | None
    unit: str = "tokens"
    whose: Whose | None = None
    beyond_baseline: NonNegativeInt | None = None

    @property
    def share(self) -> float:
        """Of the rows that were cut."""
        return self.cut / self.rows if self.rows else 0.0

    def sentence(self, noun: str = "rows") -> str:
        """How many rows were cut, to which limit, and whose it is."""
        if not self.cut:
            return f"no row of {self.rows} {noun} was cut"
        verb = "was" if self.cut == 1 else "were"
        return (
            f"{self.cut} of {self.rows} {noun} ({100 * self.share:.2f} %) {verb} cut to {self.limit} "
            f"{self.unit} ({Limit(self.limit, self.whose)})"
        )


def count(encoder: Encoder, rows: Sequence[Row]) -> Truncation | None:
    """What an artifact's limit does to rows; None where rows have no length."""
    lengths = encoder.longest(rows)
    if lengths is None:
        return None
    tokens = encoder.max_length
    cut = 0 if tokens is None else int((lengths > tokens).sum())
    return Truncation(rows=len(rows), cut=cut, limit=tokens, unit=encoder.task.UNIT, whose=encoder.whose)
