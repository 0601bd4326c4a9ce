"""Opening the files that a user names: regular files only, with a sentence for everything else.

A pipe would hang, a device may never end, and a library that is handed such a path says so late or not at
all. So each path is looked at before it is opened, and what was opened is looked at once more.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.errors import UserError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_SHOWN = 120
Refusal = type[UserError]


def printable(text: str) -> str:
    """Text with every character escaped that no terminal prints, or that would steer it."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def shown(path: Path | str) -> str:
    """A path for a message: cut where it is long, with every character that no terminal prints escaped."""
    text = printable(str(path))
    return text if len(text) <= 4 * _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"


def _state(path: Path, error: Refusal) -> os.stat_result | None:
    """What lies at a path, links followed; None where nothing does."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as cause:
        raise error(f"the name {shown(path)} is not UTF-8: rename it, and give the new name") from cause
    try:
        return path.stat()
    except ValueError as cause:  # a NUL, which no path can hold
        raise error(f"'{shown(path)}' is no path: it holds a NUL character") from cause
    except OSError as cause:
        if cause.errno in _ABSENT:
            return None
        raise error(_reason(path, cause)) from cause


def _reason(path: Path, cause: OSError) -> str:
    if cause.errno == errno.ENAMETOOLONG:
        return f"the path {shown(path)} is longer than the system takes: give a shorter one"
    if cause.errno == errno.ELOOP:
        return f"{shown(path)} is a link that leads back to itself: give the file that is meant"
    if cause.errno == errno.EACCES:
        return f"{shown(path)} may not be read (permission denied): check its owner and mode"
    return f"{shown(path)} cannot be read: {cause.strerror or cause}"


def is_file(path: Path, *, error: Refusal = UserError) -> bool:
    """Whether a regular file is there.

    Raises:
        UserError: the path is one that the system does not take (too long, a link to itself, not UTF-8).
    """
    state = _state(path, error)
    return state is not None and stat.S_ISREG(state.st_mode)


def is_folder(path: Path, *, error: Refusal = UserError) -> bool:
    """Whether a folder is there.

    Raises:
        UserError: the path is one that the system does not take.
    """
    state = _state(path, error)
    return state is not None and stat.S_ISDIR(state.st_mode)


def exists(path: Path, *, error: Refusal = UserError) -> bool:
    """Whether anything is there.

    Raises:
        UserError: the path is one that the system does not take.
    """
    return _state(path, error) is not None


def check(path: Path, *, error: Refusal = UserError) -> None:
    """Refuse a path at which no regular file can be read.

    Raises:
        UserError: nothing is there, or a folder, pipe, device or socket, or it may not be read.
    """
    state = _state(path, error)
    if state is None:
        reason = "it is a link that leads nowhere" if path.is_symlink() else "No such file"
        raise error(f"{shown(path)} cannot be read: {reason}; check the path")
    _check_kind(path, state, error)
    if not os.access(path, os.R_OK):
        raise error(f"{shown(path)} may not be read (permission denied): check its owner and mode")


def _check_kind(path: Path, state: os.stat_result, error: Refusal) -> None:
    if not stat.S_ISREG(state.st_mode):
        kind = next((name for fits, name in _KINDS if fits(state.st_mode)), "of a special kind")
        raise error(f"{shown(path)} is {kind}, and only regular files are read: give a file")


@contextmanager
def opened(path: Path, *, error: Refusal = UserError) -> Iterator[io.BufferedReader]:
    """A regular file for reading bytes; what the system says while it is read is a sentence too.

    Raises:
        UserError: no regular file can be read there.
    """
    check(path, error=error)
    try:
        # Not to hang where a pipe took the file's place in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as cause:
        raise error(_reason(path, cause)) from cause
    with os.fdopen(descriptor, "rb") as stream:
        _check_kind(path, os.fstat(descriptor), error)
        yield stream


def read_bytes(path: Path, *, limit: int | None = None, error: Refusal = UserError) -> bytes:
    """The bytes of a regular file.

    Args:
        path: of the file.
        limit: in bytes; what is larger is refused before it is read.
        error: class of the refusal.

    Raises:
        UserError: it cannot be read, or is larger than the limit.
    """
    with opened(path, error=error) as stream:
        size = os.fstat(stream.fileno()).st_size
        if limit is not None and size > limit:
            raise error(f"{shown(path)} has {size:,} bytes, and such a file has at most {limit:,}")
        try:
            return stream.read() if limit is None else _at_most(stream, limit, path, error)
        except OSError as cause:
            raise error(_reason(path, cause)) from cause


def _at_most(stream: io.BufferedReader, limit: int, path: Path, error: Refusal) -> bytes:
    """All bytes of a stream whose size the system may not know, as under ``/proc``."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise error(f"{shown(path)} has more than {limit:,} bytes, the most that such a file has")
    return content


def resolved(path: Path, *, error: Refusal = UserError) -> Path:
    """A path with every link followed.

    Raises:
        UserError: a link leads back to itself.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as cause:  # Python calls a loop a RuntimeError
        raise error(
            f"{shown(path)} is a link that leads back to itself: give the file that is meant"
        ) from cause


def located(place: str, *, error: Refusal = UserError) -> Path:
    """The path that a user's words name; a ``~`` is the home folder.

    Raises:
        UserError: it is the home folder of nobody.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError as cause:
        raise error(
            f"'{shown(place)}' names a home folder that does not exist: write the path out"
        ) from cause
