"""The rows of one split as they were written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compress.data.quoting import Quoting


@dataclass(frozen=True)
class Table:
    """The rows of one split as they were written.

    Attributes:
        name: what messages call it.
        columns: in order of appearance.
        rows: column -> cell; a column that a row lacks is absent.
        names: column -> label names by id, where the data says.
        lines: line of each row in its file, where it has lines.
        quoting: what the quotes of a tsv are.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lines: list[int] | None = None
    quoting: Quoting | None = None

    def place(self, row: int) -> str:
        """Where a row (from 0) stands, for messages."""
        if self.lines is not None:
            return f"{self.name}, line {self.lines[row]}"
        return f"{self.name}, row {row + 1}"
