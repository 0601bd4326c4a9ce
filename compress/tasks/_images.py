"""Images and sounds where they lie: a file, or a member of a zip archive, read when they are needed."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from compress.errors import DataError
from compress.reading import files

_LARGEST = 256 * 2**20  # bytes of one file: a few kilobytes of a zip archive can unpack to more than fits
# What the library raises of archives that are damaged, encrypted, or packed in a way that it does not know.
_BROKEN_ZIP: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    zlib.error,
)
_BROKEN_ZIP += (zipfile.BadZipFile, zipfile.LargeZipFile)


@dataclass(frozen=True)
class ImageFile:
    """An image file or another one that a row refers to, or a member of an archive.

    Attributes:
        path: of the file or the archive.
        member: name within the archive; None for a file.
        noun: what a message calls it.
    """

    path: Path
    member: str | None = None
    noun: str = "image"

    def __str__(self) -> str:
        return f"{self.path}" if self.member is None else f"{self.path}:{self.member}"

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            DataError: it cannot be read.
        """
        try:
            if self.member is None:
                return files.read_bytes(self.path, limit=_LARGEST, error=DataError)
            archive = _archive(self.path, os.getpid())
            size = archive.getinfo(self.member).file_size
            if size > _LARGEST:
                raise DataError(
                    f"the {self.noun} {self} has {size:,} bytes unpacked, and {_LARGEST:,} are the most"
                )
            return archive.read(self.member)
        except _BROKEN_ZIP as cause:
            raise DataError(f"the {self.noun} {self} cannot be read: {cause}") from cause

    def open(self) -> IO[bytes]:
        """The bytes as a stream."""
        return io.BytesIO(self.read())


@lru_cache(maxsize=8)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """An open archive; each process opens its own, since a fork would share the place in the file."""
    files.check(path, error=DataError)
    return zipfile.ZipFile(path)


def members(path: Path) -> frozenset[str]:
    """Names of an archive's members.

    Raises:
        DataError: it is no zip archive.
    """
    try:
        return frozenset(_archive(path, os.getpid()).namelist())
    except _BROKEN_ZIP as cause:
        raise DataError(f"{path} cannot be read as a zip archive: {cause}") from cause


def digest(image: Any) -> str:
    """SHA-256 of an image's bytes, or of its pixels and their shape."""
    if isinstance(image, ImageFile):
        image = image.read()
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
