"""Where a command writes: looked at before any work starts, in one place for every verb.

An hour of work that ends at a path that cannot be written is lost, and some paths would be worse: a device
that is replaced by a file, a folder inside a sealed artifact, whose seal is broken by what is put there. So
an output is checked when the command line is parsed, and again by the functions that take one: its name, what
lies there, and whether the nearest folder that is there takes a file, which is tried out.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from compress.errors import UserError

MANIFEST = "manifest.json"
# What is written goes by a longer name until it is whole: a dot, a number and '.tmp'.
_SPARE = 24
_NAME_BYTES = 255
_PATH_BYTES = 4096
_SHOWN = 80


def folder(location: str | Path) -> Path:
    """A folder for a result: not there yet, empty, or holding a sealed artifact (perhaps this result).

    Raises:
        UserError: it cannot be one; the message says why.
    """
    path = place(location)
    if path.is_dir() and not (path / MANIFEST).is_file() and any(path.iterdir()):
        raise UserError(
            f"the output folder {_shown(path)} is in use (it holds something else): choose another --out or "
            "remove it"
        )
    return path


def place(location: str | Path) -> Path:
    """A folder to work in, whatever it holds.

    Raises:
        UserError: it is none and cannot become one; the message says why.
    """
    path = named(location)
    if _is_there(path) and not path.is_dir():
        raise UserError(f"the output folder {_shown(path)} is a file: choose another")
    _check_way(path)
    return path


def store(location: str | Path) -> Path:
    """The root of a store, which need not be there yet and is not tried out: reading needs no room.

    Raises:
        UserError: it is no folder and cannot become one, or lies in a sealed artifact.
    """
    root = named(location)
    standing = root.absolute()
    while not _is_there(standing):
        standing = standing.parent
    if not standing.is_dir():
        raise UserError(
            f"the store {_shown(root)} cannot be a folder, since {_shown(standing)} is none: choose another "
            "--store or $PAREDOWN_STORE"
        )
    _check_seals(root, (standing.resolve(), *standing.resolve().parents))
    return root


def file(location: str | Path) -> Path:
    """A file to write whole: not there yet, or a regular file.

    Raises:
        UserError: it cannot be written; the message says why.
    """
    path = named(location)
    if path.is_dir():
        raise UserError(f"{_shown(path)} is a folder, and a file is written: give the name of a file in it")
    if _is_there(path) and not path.is_file():
        raise UserError(
            f"{_shown(path)} is no regular file (a device, pipe or link to nowhere), and a file would take "
            "its place: give the name of a file"
        )
    _check_way(path)
    return path


def named(location: str | Path) -> Path:
    """A path as it was given, where it is a name that a file system takes.

    Raises:
        UserError: it is empty, too long, or holds what no name can.
    """
    text = str(location)
    if not text.strip():
        raise UserError("a path is empty: give the name of a file or folder, or leave the option out")
    if "\0" in text:
        raise UserError(f"'{text.replace(chr(0), '?')[:_SHOWN]}' is no path: it holds a NUL character")
    try:
        path = Path(text).expanduser()
    except RuntimeError as cause:
        raise UserError(f"'{text[:_SHOWN]}' names a home folder that does not exist: write it out") from cause
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > _NAME_BYTES - _SPARE or len(os.fsencode(path.absolute())) > _PATH_BYTES - 2 * _NAME_BYTES:
        raise UserError(
            f"the path {_shown(path)} is longer than the system takes (a name of {longest} bytes): choose a "
            "shorter one"
        )
    return path


def distinct(paths: list[Path]) -> None:
    """Refuse two outputs of one command in the same file, of which the last would stay.

    Raises:
        UserError: which one.
    """
    targets: set[Path] = set()
    for path in paths:
        target = path.absolute().resolve()
        if target in targets:
            raise UserError(f"two outputs are to be written to {_shown(path)}: give each a file of its own")
        targets.add(target)


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _check_way(path: Path) -> None:
    """Refuse a path below a file or inside a sealed artifact, or one whose folder takes no file."""
    absolute = path.absolute()
    ahead = absolute.parent
    while not _is_there(ahead):
        ahead = ahead.parent
    if not ahead.is_dir():
        raise UserError(
            f"{_shown(path)} lies below {_shown(ahead)}, which is no folder: choose another place"
        )
    _check_seals(path, absolute.resolve().parents)
    if not path.is_dir() or not any(path.iterdir()):
        _try_out(ahead, path)


def _check_seals(path: Path, folders: Iterable[Path]) -> None:
    """Refuse a path where one of the folders that would hold it is a sealed artifact."""
    for folder in folders:
        if (folder / MANIFEST).is_file():
            raise UserError(
                f"{_shown(path)} lies inside the sealed artifact {_shown(folder)}, which nothing may be put "
                "into: choose another place"
            )


def _try_out(ahead: Path, path: Path) -> None:
    """Make a folder beside the output, where what is half done will lie, and remove it."""
    try:
        Path(tempfile.mkdtemp(prefix=".paredown-", suffix=".tmp", dir=ahead)).rmdir()
    except OSError as cause:
        raise UserError(
            f"{_shown(path)} cannot be written: {_shown(ahead)} takes no file ({cause.strerror}); choose "
            "another place"
        ) from cause


def _shown(path: Path) -> str:
    """A path for a message, cut where it is long."""
    text = str(path)
    return text if len(text) <= 3 * _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
