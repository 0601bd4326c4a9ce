"""Images where they lie: a file, or a member of a zip archive, read when they are needed."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from compress.errors import DataError


@dataclass(frozen=True)
class ImageFile:
    """An image file, or a member of an archive.

    Attributes:
        path: of the file or the archive.
        member: name within the archive; None for a file.
    """

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}" if self.member is None else f"{self.path}:{self.member}"

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            DataError: it cannot be read.
        """
        try:
            if self.member is None:
                return self.path.read_bytes()
            return _archive(self.path, os.getpid()).read(self.member)
        except (OSError, KeyError, zipfile.BadZipFile) as cause:
            raise DataError(f"the image {self} cannot be read: {cause}") from cause

    def open(self) -> IO[bytes]:
        """The bytes as a stream."""
        return io.BytesIO(self.read())


@lru_cache(maxsize=8)
def _archive(path: Path, process: int) -> zipfile.ZipFile:
    """An open archive; each process opens its own, since a fork would share the place in the file."""
    return zipfile.ZipFile(path)


def members(path: Path) -> frozenset[str]:
    """Names of an archive's members.

    Raises:
        DataError: it is no zip archive.
    """
    try:
        return frozenset(_archive(path, os.getpid()).namelist())
    except (OSError, zipfile.BadZipFile) as cause:
        raise DataError(f"{path} cannot be read as a zip archive: {cause}") from cause


def digest(image: Any) -> str:
    """SHA-256 of an image's bytes, or of its pixels and their shape."""
    if isinstance(image, ImageFile):
        image = image.read()
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()
