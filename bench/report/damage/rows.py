"""Rows of the data in words, and the words of a text in shades of what an answer rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.answers.shown import CHANGE_WORDS as CHANGE_WORDS
from bench.answers.shown import Attribution, Row
from bench.display import words


def answers(row: Row) -> str:
    """What became of a row's answer, short enough for one line."""
    text = f"{row.before} to {row.after}"
    if row.truth is not None and row.truth not in (row.before, row.after):
        text += f", true is {row.truth}"
    if row.truth_before is not None and row.truth_after is not None:
        text += (
            f"; sure of the truth: {words.share(row.truth_before, 0)} to {words.share(row.truth_after, 0)}"
        )
    return text


@dataclass(frozen=True)
class Word:
    """A word with how strongly it is shown, from -1 (against the answer) to 1 (for it)."""

    text: str
    strength: float
    points: str

    @property
    def shade(self) -> int:
        """The strength as one of the style sheet's ten steps."""
        return round(10 * abs(self.strength))


def colored(attribution: Attribution) -> tuple[list[Word], list[Word]]:
    """The words for the original and for the candidate, on one scale."""
    top = max((abs(value) for value in (*attribution.before, *attribution.after)), default=0.0) or 1.0

    def shaded(values: Sequence[float]) -> list[Word]:
        return [
            Word(text, value / top, f"{100 * value + 0.0:+.1f} points")
            for text, value in zip(attribution.words, values, strict=True)
        ]

    return shaded(attribution.before), shaded(attribution.after)
