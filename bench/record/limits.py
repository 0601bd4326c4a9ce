"""Limits with their units, read strictly: ``0.5pt``, ``2ms``, ``64MiB``, ``0.6x``, ``98%``.

A limit without its unit is refused: a bare ``0.5`` could be points or a share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from compress.reading import files

# unit -> (what it is measured in, how many of those)
_UNITS: dict[str, tuple[str, float]] = {
    "pt": ("pt", 1),
    "us": ("ms", 1e-3),
    "ms": ("ms", 1),
    "s": ("ms", 1e3),
    "B": ("bytes", 1),
    "kB": ("bytes", 1e3),
    "KB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "KiB": ("bytes", 2**10),
    "MiB": ("bytes", 2**20),
    "GiB": ("bytes", 2**30),
    "x": ("x", 1),
    "%": ("share", 0.01),
    "/s": ("per_s", 1),
    "": ("number", 1),
}
_WORDS = {"pt": "percentage points", "x": "times the baseline's", "%": "percent", "/s": "a second"}
_MOST = 1e18  # in any unit: an exabyte, and more milliseconds than there were
_PATTERN = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*([A-Za-z%/]*)\s*$")


@dataclass(frozen=True)
class Limit:
    """A limit as it was written, and what it means.

    Attributes:
        text: as written.
        value: in the base unit.
        unit: the base unit: ``pt``, ``ms``, ``bytes``, ``x``, ``share``, ``per_s`` or ``number``.
    """

    text: str
    value: float
    unit: str

    @property
    def relative(self) -> bool:
        """Whether it is a multiple of the baseline's figure."""
        return self.unit == "x"


def _allowed(units: Collection[str]) -> str:
    named = [f"{unit} ({_WORDS[unit]})" if unit in _WORDS else unit or "a plain number" for unit in units]
    return ", ".join(named)


def parse(value: Any, units: Collection[str], example: str) -> Limit:
    """Read a limit.

    Args:
        value: a text such as ``2ms``; a number only where the unit may be left out.
        units: allowed here; the empty text stands for a plain number.
        example: shown in messages.

    Raises:
        ValueError: not a number, no unit where one is needed, or a unit that does not belong here.
    """
    if isinstance(value, Limit):
        return value
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    match = _PATTERN.match(text) if isinstance(text, str) else None
    if match is None or not float(match[1]) <= _MOST:
        quoted = files.shown(str(value))
        raise ValueError(f"'{quoted}' is not a limit. Allowed units: {_allowed(units)}; such as {example}")
    number, unit = match.groups()
    if unit not in units:
        missing = "has no unit" if not unit else f"has the unit '{unit}'"
        raise ValueError(f"'{value}' {missing}. Allowed units: {_allowed(units)}; such as {example}")
    base, factor = _UNITS[unit]
    return Limit(text=str(text).strip(), value=float(number) * factor, unit=base)


def _reader(units: tuple[str, ...], example: str) -> Callable[[Any], Limit | None]:
    return lambda value: None if value is None else parse(value, units, example)


def _written(limit: Limit | None) -> str | None:
    return None if limit is None else limit.text


_TEXT = PlainSerializer(_written, return_type=str | None)
_SIZES = ("B", "kB", "KB", "MB", "GB", "KiB", "MiB", "GiB", "x")

Points = Annotated[Limit, BeforeValidator(_reader(("pt",), "0.5pt")), _TEXT]
Duration = Annotated[Limit, BeforeValidator(_reader(("us", "ms", "s", "x"), "2ms or 0.6x")), _TEXT]
Bytes = Annotated[Limit, BeforeValidator(_reader(_SIZES, "64MiB or 0.25x")), _TEXT]
Times = Annotated[Limit, BeforeValidator(_reader(("x",), "4x")), _TEXT]
Share = Annotated[Limit, BeforeValidator(_reader(("%", ""), "98% or 0.98")), _TEXT]
Number = Annotated[Limit, BeforeValidator(_reader(("",), "1e-3")), _TEXT]
Worse = Annotated[Limit, BeforeValidator(_reader(("%", "pt"), "5% or 0.5pt")), _TEXT]
Rate = Annotated[Limit, BeforeValidator(_reader(("/s",), "50/s")), _TEXT]
