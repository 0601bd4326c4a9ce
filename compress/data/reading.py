"""Reading the sides of one data configuration in one way: the same roles, and each side's label names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from compress import log
from compress.data import columns
from compress.data.layout import Layout
from compress.data.table import Table
from compress.errors import DataError
from compress.recipe import DataConfig

if TYPE_CHECKING:
    from compress.tasks import Column, Task


class Reader:
    """Reads sides; afterwards it knows their tables, columns and label names.

    Attributes:
        tables: side -> what was read.
        columns: side -> role -> column.
        names: side -> label names by id, where they are known.
        names_from: where the last ones came from.
    """

    def __init__(self, config: DataConfig, task: Task, layout: Layout) -> None:
        self.config, self.task, self.layout = config, task, layout
        self.roles: dict[str, Column] = task.COLUMNS
        self.tables: dict[str, Table] = {}
        self.columns: dict[str, dict[str, str]] = {}
        self.names: dict[str, tuple[str, ...] | None] = {}
        self.names_from: str | None = None

    def read(self, side: str) -> list[dict[str, Any]]:
        """The rows of a side by role; the label's key is there only where the row has a label.

        Raises:
            DataError: the side is empty, or a column or cell cannot be used.
        """
        split = self.layout.splits[side]
        table = self.layout.source.read(split)
        if not table.rows:
            raise DataError(f"{table.name} has no rows: the {side} split is empty")
        if table.quoting is not None and table.quoting.doubt is not None:
            log.warning(
                "%s: %s; quotes are read as text. If they are marks around cells, save the rows as .csv or "
                ".jsonl.",
                table.name,
                table.quoting.doubt,
            )
        by_role = columns.find(self.roles, table.columns, self._named(table, side), table.name)
        label = self.task.LABEL
        for partner, earlier in self.columns.items():
            odd = sorted((by_role.keys() ^ earlier.keys()) - {label})
            if odd:
                raise DataError(
                    f"only one of {table.name} ({', '.join(table.columns)}) and {self.tables[partner].name} "
                    f"({', '.join(self.tables[partner].columns)}) has a column for {', '.join(odd)}: both "
                    "need the same; name the columns with data.columns"
                )
        self.columns[side], self.tables[side] = by_role, table
        self.names[side] = self._label_names(by_role.get(label), table, split)
        rows = columns.read(table, self.roles, by_role, self.layout.source, split)
        for row in rows:
            if row.get(label) is None:
                row.pop(label, None)
        return rows

    def _named(self, table: Table, side: str) -> dict[str, str]:
        """The columns that the configuration names; rows without labels need no label column."""
        label = self.task.LABEL
        return {
            role: column
            for role, column in self.config.columns.items()
            if not (side == "unlabeled" and role == label and column not in table.columns)
        }

    def _label_names(self, column: str | None, table: Table, split: str) -> tuple[str, ...] | None:
        if column is None:
            return None
        if self.config.labels:
            self.names_from = "data.labels"
            return self.config.labels
        content = self.layout.source.label_names(split)
        if content is not None:
            names = columns.label_names(content, column, self.task.LABEL)
            if names is not None:
                self.names_from = "labels.json"
                return names
        if column in table.names:
            self.names_from = "the column's features"
            return table.names[column]
        return None

    def words(self, rows: Sequence[dict[str, Any]]) -> list[list[tuple[str, ...]]]:
        """The word sequences by which rows are compared; an image or a sound is one word, its checksum."""
        return self._sequences(rows, binding=False)

    def binding(self, rows: Sequence[dict[str, Any]]) -> list[list[tuple[str, ...]]]:
        """Those by which rows are held together where data is divided (see ``Column.binds``)."""
        return self._sequences(rows, binding=True)

    def _sequences(self, rows: Sequence[dict[str, Any]], *, binding: bool) -> list[list[tuple[str, ...]]]:
        from compress.data import grouping
        from compress.tasks import _audio as audio
        from compress.tasks import _images as images

        makers: dict[str, Callable[[Any], tuple[str, ...]]] = {
            "text": grouping.words,
            "texts": lambda cell: grouping.words(" ".join(cell)),
            "tokens": lambda cell: grouping.words(" ".join(cell)),
            "image": lambda cell: (images.digest(cell),),
            "audio": lambda cell: (audio.digest(cell),),
        }
        readable = [role for role in next(iter(self.columns.values())) if self.roles[role].holds in makers]
        # Where nothing binds (questions that are asked of no text), the first of them does.
        binders = [role for role in readable if self.roles[role].binds] or readable[:1]
        used = [(role, makers[self.roles[role].holds]) for role in (binders if binding else readable)]
        return [[make(row[role]) for role, make in used] for row in rows]
