"""Cutting rows into slices: by a value, or into quarters of a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.record.finding import Part
from compress.data import BESIDE
from compress.errors import DataError

EMPTY = "(empty)"
_VALUES = 12
_QUARTERS = ("lowest", "second", "third", "highest")


class Small(Part):
    """A slice that has too few rows to be judged; or, where a family has many of them, how many it has."""

    family: str
    name: str
    rows: int


@dataclass(frozen=True)
class Cut:
    """A slice: where it comes from, its name, and which rows are in it (bool [rows])."""

    family: str
    name: str
    mask: np.ndarray


def by_value(family: str, cells: Sequence[Any]) -> list[Cut]:
    """A slice for each value, in order of how often it occurs; an empty cell is a value too."""
    names = np.array([EMPTY if cell is None or cell == "" else str(cell) for cell in cells], dtype=object)
    values, counts = np.unique(names.astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [Cut(family, str(values[i]), names == values[i]) for i in order]


def quarters(family: str, values: np.ndarray, unit: str = "") -> list[Cut]:
    """Up to four slices between the quartiles; equal values stay together, so that there may be fewer.

    Args:
        family: what the number is.
        values: of each row; NaN is in no slice.
        unit: said after the bounds.

    Returns:
        The slices with their bounds in the name; none where all values are equal.
    """
    numbers = values[~np.isnan(values)]
    if not numbers.size or np.ptp(numbers) == 0:
        return []
    inner = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.searchsorted(inner, values, side="left").astype(np.float64)
    place[np.isnan(values)] = np.nan
    cuts = []
    levels = [level for level in range(len(inner) + 1) if (place == level).any()]
    for level in levels:
        mask = place == level
        low, high = float(values[mask].min()), float(values[mask].max())
        bounds = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
        name = _QUARTERS[level] + " quarter: " if len(levels) == 4 else ""
        cuts.append(Cut(family, f"{name}{bounds}{unit}", mask))
    return cuts


def by_column(name: str, cells: Sequence[Any]) -> list[Cut]:
    """Slices of a user's column: quarters where it holds many numbers, else a slice for each value."""
    present = [cell for cell in cells if cell is not None]
    numbers = all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in present)
    if numbers and len(set(present)) > _VALUES:
        return quarters(name, np.array([np.nan if cell is None else float(cell) for cell in cells]))
    return by_value(name, cells)


def cells(rows: Sequence[dict[str, Any]], column: str) -> list[Any]:
    """The cells of a column that stands beside the task's own.

    Raises:
        DataError: there is none of that name; the message lists what there is.
    """
    columns = {name: None for row in rows for name in row.get(BESIDE, {})}
    if column not in columns:
        listed = ", ".join(columns) or "none besides the task's own"
        raise DataError(f"the evaluation rows have no column '{column}'; the columns are: {listed}")
    return [row.get(BESIDE, {}).get(column) for row in rows]


def listed(small: Sequence[Small], family: bool = True) -> str:
    """Parts that are too small to judge, the first of them by name."""
    named = [
        f"{part.family}: {part.name} ({part.rows})" if family else f"{part.name} ({part.rows})"
        for part in small
    ]
    more = f" and {len(named) - _VALUES} more" if len(named) > _VALUES else ""
    return ", ".join(named[:_VALUES]) + more
