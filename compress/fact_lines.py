"""Facts of a manifest as lines that a person reads: indented, wrapped, rows of equal columns as a table.

Everything is in ``--json``: what is long here ends in how much more there is.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

_INDENT = 2
_LEAST = 24  # columns that are left for a value, however deep it lies
_ITEMS = 20
_DEEPEST = 8  # levels; what lies below is one text
_MOST = 200
_JOIN = "\u00a0"  # a name and its value stay on one line
_LONG = 60  # characters of a text that is a line of its own
_ROWS = 10
_CURVE = 3  # points from which on a curve has a lowest that is not one of its ends


def lines(facts: Mapping[str, Any], width: int) -> list[str]:
    """Facts by name, each on a line of its own or with its parts indented below it.

    Args:
        facts: JSON values by name.
        width: columns of the terminal.
    """
    return _members(_plain(facts), 0, width)


def scalar(value: Any) -> str:
    """A value without parts, as a person writes it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def brief(value: Any, depth: int = 0) -> str:
    """A value in one text, its parts in brackets."""
    if depth >= _DEEPEST or not isinstance(value, Mapping | list):
        return _cut_text(scalar(value))
    if isinstance(value, Mapping):
        text = _cut([f"{name} {brief(part, depth + 1)}" for name, part in value.items()])
    else:
        text = _cut([brief(part, depth + 1) for part in value])
    return (f"({text})" if depth else text) or "none"


def _members(facts: Mapping[str, Any], depth: int, width: int) -> list[str]:
    column = max((len(str(name)) for name, value in facts.items() if _inline(value) is not None), default=0)
    column = min(column, width // 3)
    text_lines = []
    for name, value in facts.items():
        text_lines += _fact(str(name), value, column, depth, width)
    return text_lines


def _fact(name: str, value: Any, column: int, depth: int, width: int) -> list[str]:
    """One fact: beside its name where it is short or flat, else below it."""
    margin = " " * (_INDENT * depth)
    head = f"{margin}{name:<{column}}  "
    text = _inline(value) if depth < _DEEPEST else _cut_text(str(value))
    room = max(width - len(head), _LEAST)
    if text is not None and (not isinstance(value, Mapping) or len(text) <= 2 * room or depth >= _DEEPEST):
        return _wrapped(text, head, " " * len(head), width)
    below = f"{margin}{name}"
    if isinstance(value, Mapping):
        return [below, *_members(value, depth + 1, width)]
    most = _ROWS if depth else len(value)  # a table that is a fact of its own is there for its rows
    rows = _table(value, _INDENT * (depth + 1), width, most)
    return [below, *(_items(value, depth + 1, width, most) if rows is None else rows)]


def _inline(value: Any) -> str | None:
    """A value in one text; None where its parts need lines of their own."""
    if isinstance(value, Mapping):
        if any(isinstance(part, Mapping | list) for part in value.values()):
            return None
        return ", ".join(f"{name}{_JOIN}{scalar(part)}" for name, part in value.items()) or "none"
    if not isinstance(value, list):
        return scalar(value)
    if not value:
        return "none"
    if all(_is_flat(item) for item in value):  # such as the points of a curve
        return _curve(value)
    if any(isinstance(item, Mapping | list) or len(str(item)) > _LONG for item in value):
        return None
    return _cut([scalar(item) for item in value])


def _is_flat(item: Any) -> bool:
    return isinstance(item, list) and not any(isinstance(part, Mapping | list) for part in item)


def _curve(points: Sequence[Sequence[Any]]) -> str:
    """How many points there are, the first and the last, and the lowest by what stands last in each."""
    ends = f"{len(points)}, from {_pair(points[0])} to {_pair(points[-1])}"
    heights = [point[-1] for point in points if point]
    numbers = all(isinstance(height, int | float) and not isinstance(height, bool) for height in heights)
    if len(heights) < len(points) or not numbers or len(points) < _CURVE:
        return ends
    return f"{ends}, lowest {_pair(min(points, key=lambda point: point[-1]))}"


def _plain(value: Any) -> Any:
    """Facts as JSON gives them back: those of a stage that has just run hold tuples, a file has lists."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _pair(item: Sequence[Any]) -> str:
    return f"({_cut([scalar(part) for part in item])})"


def _cut(parts: Sequence[str]) -> str:
    more = f", and {len(parts) - _ITEMS} more" if len(parts) > _ITEMS else ""
    return ", ".join(parts[:_ITEMS]) + more


def _cut_text(text: str) -> str:
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"


def _items(values: Sequence[Any], depth: int, width: int, most: int = _ROWS) -> list[str]:
    """The items of a list that are no table, each after a dash."""
    margin = " " * (_INDENT * depth)
    text_lines = []
    for item in values[:most]:
        text = _inline(item) if depth < _DEEPEST else _cut_text(str(item))
        if text is not None:
            text_lines += _wrapped(text, f"{margin}- ", f"{margin}  ", width)
            continue
        parts = _members if isinstance(item, Mapping) else _items
        member_lines = parts(item, depth + 1, width)
        text_lines += [f"{margin}- {member_lines[0].lstrip()}", *member_lines[1:]]
    return text_lines + _more(len(values), most, margin)


def _table(values: Sequence[Any], indent: int, width: int, most: int) -> list[str] | None:
    """Rows of equal columns as a table; None where they are none, or where it is wider than the terminal."""
    first = values[0]
    if not isinstance(first, Mapping) or not first:
        return None
    for row in values:
        if not isinstance(row, Mapping) or row.keys() != first.keys():
            return None
        if any(isinstance(cell, Mapping | list) for cell in row.values()):
            return None
    cells = [
        [str(name) for name in first],
        *([scalar(cell) for cell in row.values()] for row in values[:most]),
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(first))]
    if indent + sum(widths) + 2 * (len(widths) - 1) > width:
        return None
    margin = " " * indent
    text_lines = [
        margin + "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return text_lines + _more(len(values), most, margin)


def _more(count: int, most: int, margin: str) -> list[str]:
    return [f"{margin}and {count - most} more (--json has all)"] if count > most else []


def _wrapped(text: str, head: str, hanging: str, width: int) -> list[str]:
    """A text after its head; words that are longer than the terminal, such as paths, are left whole."""
    wrapper = textwrap.TextWrapper(
        max(width - len(hanging), _LEAST), break_long_words=False, break_on_hyphens=False
    )
    parts = [line for piece in text.splitlines() for line in wrapper.wrap(piece)] or [""]
    text_lines = [head + parts[0], *(hanging + part for part in parts[1:])]
    return [line.replace(_JOIN, " ").rstrip() for line in text_lines]
