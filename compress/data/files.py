"""Reading one data file: jsonl, csv and tsv (also gzipped), and parquet.

Lines of jsonl, csv and tsv are read here, so that an error names its line; parquet goes through the
``datasets`` library, like hub data sets. A csv whose header has no comma may have semicolons, tabs or bars
between its cells. Tsv has no quoting (a quote is a character); an empty csv or tsv cell is no value.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from compress import artifact, environment
from compress.errors import DataError

_OTHER_SEPARATORS = (";", "\t", "|")
SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class Table:
    """The rows of one split as they were written.

    Attributes:
        name: what messages call it.
        columns: in order of appearance.
        rows: column -> cell; a column that a row lacks is absent.
        names: column -> label names by id, where the data says.
        lines: line of each row in its file, where it has lines.
    """

    name: str
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lines: list[int] | None = None

    def place(self, row: int) -> str:
        """Where a row (from 0) stands, for messages."""
        if self.lines is not None:
            return f"{self.name}, line {self.lines[row]}"
        return f"{self.name}, row {row + 1}"


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return artifact.digest_file(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, computed once while its size and time stay the same."""
    state = path.stat()
    return _digest(path, state.st_size, state.st_mtime_ns)


def suffix_of(path: Path) -> str | None:
    """The data suffix of a file, the longest that fits; None where it is no data file."""
    fitting = [suffix for suffix in SUFFIXES if path.name.endswith(suffix)]
    return max(fitting, key=len, default=None)


@contextmanager
def _text(path: Path) -> Iterator[io.TextIOWrapper]:
    with path.open("rb") as stream:
        raw: Any = gzip.GzipFile(fileobj=stream) if path.suffix == ".gz" else stream
        yield io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a file, plain or gzipped, from 1."""
    number = 0
    try:
        with _text(path) as stream:
            for number, line in enumerate(stream, start=1):
                yield number, line
    except UnicodeDecodeError as cause:
        raise DataError(
            f"{path}, after line {number}: the file is not UTF-8 text ({cause.reason})"
        ) from cause
    except (gzip.BadGzipFile, EOFError) as cause:
        raise DataError(f"{path}, after line {number}: the gzip file is damaged ({cause})") from cause
    except OSError as cause:
        raise DataError(f"{path} cannot be read: {cause.strerror or cause}") from cause


def objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a JSON-lines file, plain or gzipped, each with its line.

    Raises:
        DataError: it cannot be read, or a line is no JSON object; the message has its number.
    """
    for number, line in _numbered(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as cause:
            raise DataError(
                f"{path}, line {number}: this is not valid JSON ({cause}); each line holds one row"
            ) from cause
        if not isinstance(row, dict):
            raise DataError(
                f'{path}, line {number}: a row must be an object such as {{"text": "…"}}, not '
                f"{type(row).__name__}"
            )
        yield number, row


def _separated(path: Path, separator: str, *, quoted: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(
        (line for _, line in _numbered(path)),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=quoted,
    )
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise DataError(f"{path}, line 1: the header names a column twice: {', '.join(header)}")
        before = reader.line_num
        for cells in reader:
            number, before = before + 1, reader.line_num
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{path}, line {number}: {len(cells)} cells under a header of {len(header)} columns "
                    f"({', '.join(header)})"
                )
            yield number, {name: cell or None for name, cell in zip(header, cells, strict=True)}
    except csv.Error as cause:
        raise DataError(f"{path}, line {reader.line_num}: {cause}") from cause


def _lines(path: Path, suffix: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a text file with their lines."""
    if suffix.startswith(".jsonl"):
        return objects(path)
    if suffix.startswith(".csv"):
        return _separated(path, _separator(path), quoted=True)
    return _separated(path, "\t", quoted=False)


def _separator(path: Path) -> str:
    """A comma, unless the header has none and one of the others that spreadsheets write."""
    header = next((line for _, line in _numbered(path)), "")
    others = [one for one in _OTHER_SEPARATORS if one in header]
    return others[0] if "," not in header and len(others) == 1 else ","


def _read_parquet(path: Path) -> Table:
    import datasets

    # The library keeps an Arrow copy of what it reads: in a folder that goes away with this call.
    with tempfile.TemporaryDirectory(prefix="paredown-") as cache:
        try:
            loaded = datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)
        except (
            datasets.exceptions.DatasetsError,
            OSError,
            ValueError,
            TypeError,
            NotImplementedError,
        ) as cause:
            reason = str(cause.__cause__ or cause).splitlines()[0]
            raise DataError(f"{path} cannot be read as parquet: {reason}") from cause
        return from_dataset(loaded, str(path))


def from_dataset(loaded: Any, name: str) -> Table:
    """The rows of a ``datasets.Dataset``; images stay encoded."""
    import datasets

    names: dict[str, tuple[str, ...]] = {}
    for column, feature in loaded.features.items():
        inner = feature.feature if isinstance(feature, datasets.List) else feature
        if isinstance(inner, datasets.ClassLabel):
            names[column] = tuple(inner.names)
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
    return Table(name, tuple(loaded.column_names), loaded.to_list(), names)


def read_file(path: Path) -> Table:
    """The rows of a file, by its suffix.

    Raises:
        DataError: the file is of another type, or broken; the line is named.
    """
    suffix = suffix_of(path)
    if suffix is None:
        raise DataError(f"{path} is of an unknown type: data files end in {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return _read_parquet(path)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    columns: dict[str, None] = {}
    for number, row in _lines(path, suffix):
        columns.update(dict.fromkeys(row))
        rows.append(row)
        lines.append(number)
    return Table(str(path), tuple(columns), rows, lines=lines)


def first_row(path: Path) -> dict[str, Any]:
    """The first row of a file without reading the rest; empty where there is none."""
    suffix = suffix_of(path) or ""
    if suffix != ".parquet":
        return next((row for _, row in _lines(path, suffix)), {})
    parquet = environment.require("pyarrow.parquet", purpose="parquet files")
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1):
                row: dict[str, Any] = batch.to_pylist()[0]
                return row
    except (OSError, ValueError) as cause:
        raise DataError(f"{path} cannot be read as parquet: {cause}") from cause
    return {}
