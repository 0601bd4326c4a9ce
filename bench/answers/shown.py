"""A row as a person reads it: its texts, a small picture where it is an image, and both answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.answers import scoring
from bench.record.finding import Part
from compress.errors import NothingToMeasure

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from compress.tasks import Prediction, Task

_LONGEST = 1200
_PICTURE = 72
_URI = "data:image/"
Change = Literal["harmful", "beneficial", "other", "none"]
CHANGE_WORDS: dict[Change, str] = {
    "harmful": "right before, wrong now",
    "beneficial": "wrong before, right now",
    "other": "changed",
    "none": "same answer",
}


class Attribution(Part):
    """How much each word speaks for an answer, for both models.

    Attributes:
        answer: that is explained: the original's.
        words: of the row, or runs of words where it is long.
        before: the original's probability of the answer less that without the word.
        after: the same of the candidate.
    """

    answer: str
    words: tuple[str, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]

    def problems(self) -> Iterator[str]:
        """Words and weights that do not match."""
        if not len(self.words) == len(self.before) == len(self.after):
            yield f"{len(self.words)} words with {len(self.before)} and {len(self.after)} weights"


class Row(Part):
    """A row for a person to read.

    Attributes:
        number: of the row among those that were measured, from 1.
        cells: role -> text.
        image: a small picture as a data URI, for rows that are images.
        truth: the label; None where it has none.
        before: what the original says.
        after: what the candidate says.
        change: whether that is harmful, beneficial, another change (both wrong), or none.
        truth_before: the original's probability of the truth, where there is one.
        truth_after: the candidate's.
        divergence: of the two distributions, in nats.
        attribution: of the row's words, where it was asked for.
    """

    number: int
    cells: dict[str, str]
    image: str | None = None
    truth: str | None = None
    before: str
    after: str
    change: Change
    truth_before: float | None = None
    truth_after: float | None = None
    divergence: float | None = None
    attribution: Attribution | None = None

    def problems(self) -> Iterator[str]:
        """An image that a page must not open."""
        if self.image is not None and not self.image.startswith(_URI):
            yield "an image that is no picture"


def cells(row: Mapping[str, Any], task: Task) -> dict[str, str]:
    """Role -> text of what the model reads; long texts are cut, which shows."""
    texts = {}
    for role, column in task.COLUMNS.items():
        if role == task.LABEL or role not in row:
            continue
        if column.holds in {"image", "audio"}:
            file = row[role] if isinstance(row[role], Path) else getattr(row[role], "path", None)
            bare = "an image" if column.holds == "image" else "a sound"
            texts[role] = getattr(row[role], "member", None) or (file.name if file else bare)
        else:
            between = {"tokens": " ", "texts": " | "}.get(column.holds)
            text = str(row[role]) if between is None else between.join(row[role])
            texts[role] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return texts


def picture(row: Mapping[str, Any], task: Task) -> str | None:
    """A small PNG of the row's image as a data URI; None where it has none."""
    role = next((role for role, column in task.COLUMNS.items() if column.holds == "image"), None)
    if role is None or role not in row:
        return None
    from PIL import Image

    pixels = task.to_pixels(row[role], 3)
    image = Image.fromarray(pixels)
    image.thumbnail((_PICTURE, _PICTURE))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return f"{_URI}png;base64," + base64.b64encode(stream.getvalue()).decode()


def changes(pair: Pair, task: Task, tolerance: float = 0.0) -> list[Change]:
    """What became of each row: harmful, beneficial, another change, or none.

    Args:
        pair: with references.
        task: that says which answers are right.
        tolerance: for numbers: the change of the absolute error that does not count.

    Raises:
        NothingToMeasure: the task scores no row by itself.
    """
    references = pair.references or []
    if not pair.head.checkable:
        raise NothingToMeasure(
            "which rows became right or wrong is asked of single answers, and this task scores rows together"
        )
    if pair.head.answer == "number":
        grown = scoring.errors(pair.after.predictions, references) - scoring.errors(
            pair.before.predictions, references
        )
        return [
            "harmful" if g > tolerance else "beneficial" if g < -tolerance else "none" for g in grown.tolist()
        ]
    kinds: list[Change] = []
    for old, new, true in zip(pair.before.predictions, pair.after.predictions, references, strict=True):
        right = [task.right(answer, true) for answer in (old, new)]
        if old.value == new.value or all(right):
            kinds.append("none")
        elif right[0]:
            kinds.append("harmful")
        else:
            kinds.append("beneficial" if right[1] else "other")
    return kinds


def _chance(answer: Prediction, true: Any) -> float | None:
    """The probability that an answer gives the truth, where there is one."""
    if answer.probabilities is None or not isinstance(true, int):
        return None
    return answer.probabilities[true]


def rows(
    pair: Pair,
    task: Task,
    picks: Sequence[int],
    kinds: Sequence[Change],
    divergence: np.ndarray | None,
    numbers: Sequence[int] | None = None,
) -> list[Row]:
    """Some rows for a person.

    Args:
        pair: of answers.
        task: whose columns are shown.
        picks: which rows, in the order to show them.
        kinds: from ``changes``, of every row.
        divergence: of every row.
        numbers: of the rows where ``pair`` holds a selection of them.
    """
    entries = []
    for i in picks:
        old, new = pair.before.predictions[i], pair.after.predictions[i]
        true: Any = None if pair.references is None else pair.references[i]
        entries.append(
            Row(
                number=(numbers[i] if numbers is not None else i) + 1,
                cells=cells(pair.rows[i], task),
                image=picture(pair.rows[i], task),
                truth=None if true is None else scoring.in_words(scoring.named(true, pair.head)),
                before=scoring.in_words(old.label),
                after=scoring.in_words(new.label),
                change=kinds[i],
                truth_before=_chance(old, true),
                truth_after=_chance(new, true),
                divergence=None if divergence is None else float(divergence[i]),
            )
        )
    return entries
