"""Being told to end (SIGTERM, SIGHUP): what is half done is put away first, as it is after Ctrl-C.

Containers, batch systems and ``timeout`` send SIGTERM, which by default ends Python where it stands: folders
under way stay beside the output and nobody is told that the same command goes on from there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """The process was told to end: no error, so that it passes everything that catches errors.

    Attributes:
        name: of the signal.
        code: that a shell gives a process which the signal ended.
    """

    def __init__(self, number: int) -> None:
        """Remember the signal."""
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.code = 128 + number


@contextmanager
def heard() -> Iterator[None]:
    """Raise ``Ended`` in the block when the process is told to end; the second time it ends at once.

    A signal that somebody handles or ignores already, such as SIGHUP under ``nohup``, is left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _ASKED if signal.getsignal(number) == signal.SIG_DFL]

    def end(number: int, _frame: FrameType | None) -> None:
        for signum in numbers:
            signal.signal(signum, signal.SIG_DFL)
        raise Ended(number)

    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
