"""Reading one data file: jsonl, csv and tsv (also gzipped), and parquet.

Lines of jsonl, csv and tsv are read here, so that an error names its line; parquet goes through the
``datasets`` library, like hub data sets. A csv whose header has no comma may have semicolons, tabs or bars
between its cells. What the quotes of a tsv are is decided in ``quoting``; an empty csv or tsv cell is no
value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from compress.artifacts import artifact
from compress.data import lines, parquet, squad
from compress.data.quoting import quoting
from compress.data.table import Table
from compress.errors import DataError
from compress.reading import files as reading
from compress.reading import json_values

csv.field_size_limit(lines.LONGEST)  # the module's own 131,072 characters are less than a document

_OTHER_SEPARATORS = (";", "\t", "|")
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return artifact.digest_file(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, computed once while its size and time stay the same."""
    reading.check(path, error=DataError)
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


def suffix_of(path: Path) -> str | None:
    """The data suffix of a file, the longest that fits; None where it is no data file."""
    fitting = [suffix for suffix in SUFFIXES if path.name.endswith(suffix)]
    return max(fitting, key=len, default=None)


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a JSON-lines file, plain or gzipped, each with its line.

    Raises:
        DataError: it cannot be read, or a line is no JSON object; the message has its number.
    """
    for number, line in lines.numbered(path):
        if not line.strip():
            continue
        if "\r" in line.rstrip("\r\n"):
            raise DataError(
                f"{path}, line {number}: a carriage return stands alone, which ends no line: save the file "
                "with line feeds"
            )
        # NaN is how pandas and others write that there is no value.
        row = json_values.parse(line, f"{path}, line {number}", constants=True, error=DataError)
        if not isinstance(row, dict):
            raise DataError(
                f'{path}, line {number}: a row must be an object such as {{"text": "…"}}, not '
                f"{type(row).__name__}"
            )
        yield number, row


def _separated(path: Path, separator: str, *, quoted: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a file of separated cells; blanks around the names in its header are not theirs.

    A header with a blank after each separator says that one is there in every line: it is no part of a cell.
    """
    names = next((line for _, line in lines.numbered(path)), "").split(separator)[1:]
    reader = csv.reader(
        (line for _, line in lines.numbered(path)),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=quoted,
        skipinitialspace=quoted and bool(names) and all(name.startswith(" ") for name in names),
    )
    try:
        header = [name.strip() for name in next(reader, [])]
        named = [name for name in header if name]
        if len(set(named)) < len(named):
            raise DataError(f"{path}, line 1: the header names a column twice: {', '.join(named)}")
        # A separator after the last name need not be there in every row.
        shorter = len(header) - 1 if named and header[-1] == "" else len(header)
        before = reader.line_num
        for cells in reader:
            number, before = before + 1, reader.line_num
            if not cells:
                continue
            if not shorter <= len(cells) <= len(header):
                raise DataError(
                    f"{path}, line {number}: {len(cells)} cells under a header of {len(header)} columns "
                    f"({', '.join(header)})"
                )
            # Nobody can ask for a column without a name, such as the index that pandas writes.
            yield number, {name: cell or None for name, cell in zip(header, cells, strict=False) if name}
    except csv.Error as cause:
        raise DataError(f"{path}, line {reader.line_num}: {cause}") from cause


def _lines(path: Path, suffix: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a text file with their lines."""
    if suffix.startswith(".jsonl"):
        return objects(path)
    if suffix.startswith(".csv"):
        return _separated(path, _separator(path), quoted=True)
    return _separated(path, "\t", quoted=quoting(path).marks)


def _separator(path: Path) -> str:
    """A comma, unless the header has none and one of the others that spreadsheets write."""
    header = next((line for _, line in lines.numbered(path)), "")
    separators = [character for character in _OTHER_SEPARATORS if character in header]
    return separators[0] if "," not in header and len(separators) == 1 else ","


def read_file(path: Path) -> Table:
    """The rows of a file, by its suffix.

    Raises:
        DataError: the file is of another type, or broken; the line is named.
    """
    suffix = suffix_of(path)
    if squad.is_one(path):
        return squad.read(path)
    if suffix is None:
        raise DataError(
            f"{path} is of an unknown type: data files end in {', '.join(SUFFIXES)}, or in .json "
            "where they are nested as SQuAD's"
        )
    if suffix == ".parquet":
        return parquet.read(path)
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    columns: dict[str, None] = {}
    for number, row in _lines(path, suffix):
        columns.update(dict.fromkeys(row))
        rows.append(row)
        numbers.append(number)
    quotes = quoting(path) if suffix.startswith(".tsv") else None
    return Table(str(path), tuple(columns), rows, lines=numbers, quoting=quotes)


def first_row(path: Path) -> dict[str, Any]:
    """The first row of a file without reading the rest; empty where there is none."""
    if squad.is_one(path):
        return {}  # its rows hold texts, and no paths
    suffix = suffix_of(path) or ""
    if suffix != ".parquet":
        return next((row for _, row in _lines(path, suffix)), {})
    return parquet.first_row(path)
