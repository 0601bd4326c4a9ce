"""A row as a person reads it: its texts, a small picture where it is an image, and both answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.findings import scoring
from bench.record.findings import Change, Row

if TYPE_CHECKING:
    from bench.findings.answers import Pair
    from compress.tasks import Prediction

_LONGEST = 1200
_PICTURE = 72


def cells(row: Mapping[str, Any], task: ModuleType) -> dict[str, str]:
    """Role -> text of what the model reads; long texts are cut, which shows."""
    found = {}
    for role, column in task.COLUMNS.items():
        if role == task.LABEL or role not in row:
            continue
        if column.holds == "image":
            file = getattr(row[role], "path", None)
            found[role] = getattr(row[role], "member", None) or (file.name if file else "an image")
        else:
            text = " ".join(row[role]) if column.holds == "tokens" else str(row[role])
            found[role] = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return found


def picture(row: Mapping[str, Any], task: ModuleType) -> str | None:
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
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def changes(pair: Pair, tolerance: float = 0.0) -> list[Change]:
    """What became of each row: harmful, beneficial, another change, or none.

    Args:
        pair: with references.
        tolerance: for numbers: the change of the absolute error that does not count.
    """
    references = pair.references or []
    if pair.head.problem == "regression":
        grown = scoring.errors(pair.after.predictions, references) - scoring.errors(
            pair.before.predictions, references
        )
        return [
            "harmful" if g > tolerance else "beneficial" if g < -tolerance else "none" for g in grown.tolist()
        ]
    found: list[Change] = []
    for old, new, true in zip(pair.before.predictions, pair.after.predictions, references, strict=True):
        if old.value == new.value:
            found.append("none")
        elif old.value == true:
            found.append("harmful")
        else:
            found.append("beneficial" if new.value == true else "other")
    return found


def _chance(answer: Prediction, true: Any) -> float | None:
    """The probability that an answer gives the truth, where there is one."""
    if answer.probabilities is None or not isinstance(true, int):
        return None
    return answer.probabilities[true]


def rows(
    pair: Pair,
    task: ModuleType,
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
    found = []
    for i in picks:
        old, new = pair.before.predictions[i], pair.after.predictions[i]
        true: Any = None if pair.references is None else pair.references[i]
        found.append(
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
    return found
