"""Whether the quotes of a tab-separated file are its text or the marks of its writer.

Both are usual: the files of GLUE and SST-2 have quotes as text, while pandas, spreadsheets and R put a cell
into quotes and double those within. A file is taken for the latter only where *writing its rows again gives
the file*: either quotes stand exactly around the cells that need them (a tab, a quote, a line's end within),
or around every cell, the header's too, that is no number and not empty. One cell that such a writer would
have written otherwise, such as ``say "hi"``, makes all quotes text, and so does a quote that opens in one row
and closes in another where each line is a whole row without quotes. Where a file has neither sign, or both,
its quotes are text and that is said.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from compress.data import lines
from compress.errors import DataError
from compress.reading import files

_NEEDS = re.compile(r'[\t"\r\n]')
_BARE = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|NA|NaN|nan|TRUE|FALSE|True|False|")
_WHOLE_CELL = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class Quoting:
    """What the quotes of a file are.

    Attributes:
        marks: whether they are its writer's marks, taken away when it is read; else text.
        doubt: why it could be otherwise; None where it could not, or there are no quotes.
    """

    marks: bool
    doubt: str | None = None


def quoting(path: Path) -> Quoting:
    """The rule of the module's head, over the whole file; decided once while size and time stay the same."""
    files.check(path, error=DataError)
    state = path.stat()
    return _quoting(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _quoting(path: Path, size: int, changed_ns: int) -> Quoting:
    signs = _signs(path)
    if signs.swallowing is not None:
        return Quoting(
            marks=False,
            doubt=f"a quote opens on line {signs.swallowing} and closes on a later one, "
            "which could be one cell",
        )
    if signs.marked and (signs.needed or signs.every):
        return Quoting(marks=True)
    return Quoting(marks=False, doubt=_doubt(path))


@dataclass
class _Signs:
    """What reading a file with quotes shows.

    Attributes:
        needed: whether quoting the cells that need it gives the file.
        every: whether quoting all text gives it.
        marked: whether there is a quote at all.
        swallowing: line of a record of several lines, each of which is a whole row without quotes, too.
    """

    needed: bool = True
    every: bool = True
    marked: bool = False
    swallowing: int | None = None


def _signs(path: Path) -> _Signs:
    signs = _Signs()
    width = line = 0
    try:
        for record, cells in _records(path):
            width = width or len(cells)
            signs.marked = signs.marked or '"' in record
            signs.needed = signs.needed and record == "\t".join(map(_as_needed, cells))
            signs.every = signs.every and _is_all_text(record, cells)
            if len(cells) not in (0, width) or not (signs.needed or signs.every):
                return _Signs(False, False, signs.marked)
            rows = record.split("\n")
            if len(rows) > 1 and all(row.count("\t") == width - 1 for row in rows):
                return _Signs(False, False, True, swallowing=line + 1)
            line += len(rows)
    except csv.Error:  # a quote that closes nothing, or is never closed: no such writer wrote it
        return _Signs(False, False, True)
    return signs


def _as_needed(cell: str) -> str:
    return _quoted(cell) if _NEEDS.search(cell) else cell


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def _is_all_text(record: str, cells: list[str]) -> bool:
    """Whether a record is its cells with all text in quotes; numbers may stand in them as well."""
    place = 0
    for i, cell in enumerate(cells):
        place += i > 0
        written = _quoted(cell)
        if record.startswith(written, place):
            place += len(written)
        elif _BARE.fullmatch(cell):
            place += len(cell)
        else:
            return False
    return place == len(record)


def _records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Each record as it stands in the file, without its line's end, and its cells read with quotes."""
    raw_lines: list[str] = []

    def source() -> Iterator[str]:
        for _, line in lines.numbered(path):
            raw_lines.append(line)
            yield line

    for cells in csv.reader(source(), delimiter="\t", strict=True):
        yield "".join(raw_lines).rstrip("\r\n"), cells
        raw_lines.clear()


def _doubt(path: Path) -> str | None:
    """Why quotes that are taken as text could be marks."""
    quoted = doubled = inner = 0
    first = 0
    try:
        for number, line in lines.numbered(path):
            if '"' not in line:
                continue
            for cell in line.rstrip("\r\n").split("\t"):
                if _WHOLE_CELL.fullmatch(cell):
                    quoted += 1
                    doubled += '"' in cell[1:-1]
                    first = first or number
                elif '"' in cell:
                    inner += 1
    except DataError:  # said by whoever reads the rows
        return None
    if not quoted or (inner and not doubled):
        return None
    remark = f", and {inner} have quotes in other places" if inner else ", and none of them needs that"
    return f"{quoted} cells stand whole in quotes (the first on line {first}){remark}"
