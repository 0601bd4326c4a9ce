"""Text of a file: UTF-8, with or without a byte order mark; anything else is called by its name."""

from __future__ import annotations

import codecs
from pathlib import Path

from compress.errors import UserError
from compress.reading import files
from compress.reading.files import Refusal

LIMIT = 256 * 2**20
"""Bytes of the largest text that is read whole; reports of some thousand rows have some megabytes."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip file"),
    (b"PAR1", "a parquet file"),
)
_SAMPLE = 4096
BINARY, OTHER = "a binary file", "text in another encoding, such as Latin-1"


def looks_like(content: bytes) -> str:
    """What bytes that are no UTF-8 text seem to be: by their first bytes, then by the share of NULs."""
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    sample = content[:_SAMPLE]
    if sample.count(0) * 4 > len(sample) and sample.strip(b"\0"):
        return "UTF-16 without its mark"
    control = sum(byte < 9 or 13 < byte < 32 for byte in sample)
    if control * 20 > len(sample):
        return BINARY
    return OTHER


def decode(content: bytes, place: str, *, error: Refusal = UserError) -> str:
    """The text of UTF-8 bytes, without a byte order mark.

    Raises:
        UserError: it is no UTF-8; the sentence says what it looks like, and where it breaks off.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\x1f\x8b", b"PK\x03\x04", b"PAR1")):
        raise error(refusal(content, place))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = content.count(b"\n", 0, cause.start) + 1
        raise error(refusal(content, f"{place}, line {line}")) from cause


def refusal(content: bytes, place: str) -> str:
    """The sentence about bytes that are no UTF-8 text."""
    return f"{place}: this is not UTF-8 text, it looks like {looks_like(content)}: save it as UTF-8"


def read(path: Path, *, limit: int = LIMIT, error: Refusal = UserError) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        UserError: it cannot be read, is too large, or is no such text.
    """
    return decode(files.read_bytes(path, limit=limit, error=error), files.shown(path), error=error)


def joined(text: str) -> str | None:
    """Text with halves of surrogate pairs joined; None where a half stands alone, which is no character."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            return None
    return text
