"""JSON of a user's file: what could be read in two ways, or break whoever reads it next, is refused.

A key that stands twice would silently be its last; a number of thousands of digits, half a surrogate pair and
a nesting of thousands of levels are valid JSON that no float, no UTF-8 and no recursion takes.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from compress.errors import UserError
from compress.reading import files, utf8
from compress.reading.files import Refusal

DEPTH = 64
"""Levels of lists and objects; a report has nine."""
DIGITS = 40
"""Of a whole number; one of 64 bits has at most 20."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


class _RefusedError(ValueError):
    """What the decoder's own hooks refuse; the place is added by whoever called."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _RefusedError(f"the key '{files.shown(twice)}' stands twice in one object")
    return members


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise _RefusedError(f"a number of {len(digits):,} digits, and {DIGITS} are the most")
    return int(digits)


def _number(written: str) -> float:
    value = float(written)
    if not math.isfinite(value):
        raise _RefusedError(f"the number {written[:DIGITS]} is larger than a float holds")
    return value


def _constant(name: str) -> float:
    raise _RefusedError(f"{name} is no JSON number")


_STRICT = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_whole, parse_float=_number, parse_constant=_constant
)
_ROWS = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, parse_float=_number)


def parse(written: str, place: str, *, constants: bool = False, error: Refusal = UserError) -> Any:
    """The value of a JSON text.

    Args:
        written: the text.
        place: where it comes from, for messages.
        constants: whether ``NaN`` and ``Infinity`` are taken, as rows of data may have them.
        error: class of the refusal.

    Raises:
        UserError: it is no JSON, or such as the module's head says.
    """
    try:
        value = (_ROWS if constants else _STRICT).decode(written)
    except _RefusedError as cause:
        raise error(f"{place}: {cause}") from cause
    except json.JSONDecodeError as cause:
        line = f"line {cause.lineno}, " if "\n" in written.strip() else ""
        at = f"{cause.msg} at {line}column {cause.colno}" if written.strip() else "it is empty"
        raise error(f"{place}: this is not valid JSON ({at})") from cause
    except RecursionError as cause:
        raise error(f"{place}: lists and objects are nested deeper than {DEPTH} levels") from cause
    # What cannot be there is not looked for: rows come in hundred thousands.
    if written.count("[") + written.count("{") > DEPTH or _HALF.search(written):
        _check(value, place, error)
    return value


def _check(value: Any, origin: str, error: Refusal) -> None:
    """Refuse deep nesting and halves of surrogate pairs; the field is named."""
    waiting: list[tuple[Any, str, int]] = [(value, "", 0)]
    while waiting:
        node, place, depth = waiting.pop()
        if depth >= DEPTH and isinstance(node, list | dict):
            raise error(f"{origin}: lists and objects are nested deeper than {DEPTH} levels")
        if isinstance(node, str):
            _check_text(node, f"{origin}, field '{place}'" if place else origin, error)
        elif isinstance(node, dict):
            for key, inner in node.items():
                _check_text(key, f"{origin}, the name of a field", error)
                waiting.append((inner, f"{place}.{key}" if place else key, depth + 1))
        elif isinstance(node, list):
            waiting += [
                (inner, f"{place}.{i}" if place else str(i), depth + 1) for i, inner in enumerate(node)
            ]


def _check_text(value: str, place: str, error: Refusal) -> None:
    if utf8.joined(value) is None:
        half = next(character for character in value if "\ud800" <= character <= "\udfff")
        raise error(
            f"{place}: {ascii(half)[1:-1]} is half of a surrogate pair, which is no character: "
            "write the text anew, as UTF-8"
        )


def read(path: Path, *, place: str | None = None, limit: int = utf8.LIMIT, error: Refusal = UserError) -> Any:
    """The value of a JSON file.

    Args:
        path: of the file.
        place: what messages start with; the path when None.
        limit: bytes of the largest that is read.
        error: class of the refusal.

    Raises:
        UserError: it cannot be read, or is no such JSON.
    """
    return parse(utf8.read(path, limit=limit, error=error), place or files.shown(path), error=error)
