"""Choices of a row and the right one among them: how cells of public data sets write both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.errors import DataError
from compress.reading import json_values
from compress.tasks import _heads as heads

FORM = '["…", "…"]'
_UNKNOWN = ("", -1, "-1")  # how test sets write that nobody says which is right
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def texts(cell: Any) -> tuple[str, ...] | None:
    """A cell's choices; None where it is no list of at least two texts.

    A list inside a CSV cell is read too, and an object with the list under ``text``, as ARC has it.
    """
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = json_values.parse(cell, "a cell", constants=True, error=DataError)
        except DataError:
            return None
    if isinstance(cell, Mapping):
        cell = cell.get("text")
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if not isinstance(cell, list | tuple) or len(cell) < 2:
        return None
    return tuple(cell) if all(isinstance(text, str) for text in cell) else None


def known(label: Any) -> bool:
    """Whether a label cell says which choice is right: blanks and -1 do not."""
    return label is not None and label not in _UNKNOWN and label == label  # NaN is a gap of a table


def picked(label: Any, cell: Any) -> int | None:
    """Which choice a label means, from 0; None where it means none of them.

    It is the choice's text, its key (of an object of ``text`` and ``label``), its number from 0, or its
    letter, in this order.

    Args:
        label: that is known.
        cell: of the choices, as the data has it.
    """
    choices = texts(cell) or ()
    keys = [str(key) for key in cell.get("label") or ()] if isinstance(cell, Mapping) else []
    if isinstance(label, str) and label in choices:
        return choices.index(label)
    if str(label) in keys[: len(choices)]:
        return keys.index(str(label))
    number = heads.whole(label)
    if number is None and isinstance(label, str) and label.strip() in _LETTERS and len(label.strip()) == 1:
        number = _LETTERS.index(label.strip())
    return number if number is not None and 0 <= number < len(choices) else None
