"""What the machine refused: memory, open files, room on a disk, a path. Each is one sentence with what to do.

Libraries written in Rust and C++ give a text in place of an ``OSError`` or a ``MemoryError``, and a loader
that cannot map a library's pages says so in an ``ImportError``. So an error is looked at with everything that
it was raised from, by its class, its number and the words that only the system has.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from compress.errors import UserError

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_OPEN_FILES = frozenset({errno.EMFILE, errno.ENFILE})
# What a file system says of a path; a missing file is not here, since it may be one of ours.
_PLACE = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EPERM, errno.EIO),
        *(errno.ENXIO, errno.ENODEV),
    }
)
_FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG), os.strerror(errno.EDQUOT))
_NO_MEMORY = (
    os.strerror(errno.ENOMEM).casefold(),
    "failed to map segment from shared object",
    "memoryerror",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "can't allocate memory",
    "failed to allocate memory",
    "not enough memory",
    "no memory available",
)
_NO_FOLDER = "No usable temporary directory found"
_SHOWN = 80


def refusal(problem: BaseException) -> str | None:
    """The sentence for an error that is the machine's and not ours; None for every other."""
    if reason := shortage(problem):
        return reason
    for cause in _chain(problem):
        if isinstance(cause, OSError) and cause.errno in _DISK:
            return _disk(f"{cause.strerror} ({_named(cause)})", cause.errno == errno.EFBIG)
        if isinstance(cause, OSError) and cause.errno == errno.EACCES:
            return f"{cause.strerror} ({_named(cause)}): give another path, or take the right to use this one"
        if isinstance(cause, OSError) and _NO_FOLDER in str(cause):
            return "there is no folder for temporary files that can be written: free space, or set TMPDIR"
        if phrase := next((text for text in _FULL if text in str(cause)), None):
            return _disk(phrase, phrase == os.strerror(errno.EFBIG))
    if isinstance(problem, OSError) and problem.errno in _PLACE:
        return f"{problem.strerror} ({_named(problem)}): give another path"
    return None


def shortage(problem: BaseException) -> str | None:
    """What there was too little of, where an error or its cause is that: memory or open files."""
    for cause in _chain(problem):
        if isinstance(cause, UserError):
            continue  # its words are ours
        if isinstance(cause, OSError) and cause.errno in _OPEN_FILES:
            return f"{cause.strerror} ({_named(cause)}): raise the limit of open files (ulimit -n)"
        text = str(cause).casefold()
        if isinstance(cause, MemoryError) or any(words in text for words in _NO_MEMORY):
            return "memory ran out: free some, or ask for less at once (batch sizes, lengths, rows)"
    return None


def _disk(phrase: str, too_large: bool) -> str:
    limit = ", raise the limit of a file's size (ulimit -f)" if too_large else ""
    return f"{phrase}: free space{limit} or choose another --store and --out"


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """An error and everything that it was raised from, each once; not what ``from None`` put away."""
    met: set[int] = set()
    while problem is not None and id(problem) not in met:
        met.add(id(problem))
        yield problem
        hidden = problem.__cause__ is not None or problem.__suppress_context__
        problem = problem.__cause__ if hidden else problem.__context__


def _named(problem: OSError) -> str:
    """The file that an error names, cut where it is long."""
    text = str(problem.filename or "while writing")
    return text if len(text) <= 4 * _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
