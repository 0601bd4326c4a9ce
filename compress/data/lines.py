"""Lines of a text file of rows, plain or gzipped, each with its number, within bounds.

A line is bounded, and so is how much a gzip file may swell: a few kilobytes can hold a terabyte.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.errors import DataError
from compress.reading import files, utf8

LONGEST = 64 * 2**20
"""Characters of a line."""
_SWELLS, _FREE = 200, 256 * 2**20  # times its size on disk, beyond so many characters
_SAMPLE = 4096


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a file with their ends, from 1; a carriage return alone ends none.

    Raises:
        DataError: it is no regular file, no UTF-8 text, a damaged gzip file, or beyond the bounds.
    """
    number = size = 0
    with files.opened(path, error=DataError) as stream:
        _check_encoding(stream.peek(_SAMPLE)[:_SAMPLE] if path.suffix != ".gz" else b"", path)
        raw: Any = gzip.GzipFile(fileobj=stream) if path.suffix == ".gz" else stream
        most = max(_FREE, _SWELLS * path.stat().st_size) if path.suffix == ".gz" else None
        reader = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="\n")
        try:
            while line := reader.readline(LONGEST + 1):
                number += 1
                size += len(line)
                if len(line) > LONGEST:
                    raise DataError(f"{path}, line {number}: longer than {LONGEST:,} characters, the most")
                if most is not None and size > most:
                    raise DataError(
                        f"{path}, line {number}: the gzip file swells to more than {_SWELLS} times its size: "
                        "give the rows as a plain file"
                    )
                yield number, line
        except UnicodeDecodeError as cause:
            raise DataError(
                f"{path}, after line {number}: the file is not UTF-8 text ({cause.reason}), it looks like "
                f"{utf8.looks_like(cause.object)}: save it as UTF-8"
            ) from cause
        except (gzip.BadGzipFile, EOFError, zlib.error) as cause:
            raise DataError(f"{path}, after line {number}: the gzip file is damaged ({cause})") from cause
        except OSError as cause:
            raise DataError(f"{path} cannot be read: {cause.strerror or cause}") from cause


def _check_encoding(sample: bytes, path: Path) -> None:
    """Refuse by its first bytes what decodes into nonsense or breaks far from its cause."""
    seems = utf8.looks_like(sample)
    if sample and seems not in (utf8.BINARY, utf8.OTHER):
        raise DataError(utf8.refusal(sample, files.shown(path)))
