"""How long a lane's process may be silent, and what is said when it was silent for longer.

A library may spin or wait for ever: while it is imported where memory is limited, or on a device that does
not answer. Each thing that a lane is asked has a limit far above what the slowest machine takes, which grows
with the work that was asked for. ``PAREDOWN_PATIENCE`` multiplies every limit.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from compress.errors import UserError

FACTOR = "PAREDOWN_PATIENCE"
# Python and numpy alone: a second on a warm disk, half a minute on a cold network drive.
_START_SECONDS = 150.0
# A runtime's libraries from a cold disk, an engine or a model of some GB, its first memory on the device.
_OPEN_SECONDS = 900.0
_BASE_SECONDS = 600.0
# A batch of 32 x 512 tokens through a large model on one slow core, or one shape compiled by PyTorch.
_RUN_SECONDS = 300.0

_DOING = {
    "start": "start",
    "open": "open the artifact",
    "empty": "close the artifact and open it again",
    "keep": "get ready for {feeds} inputs",
    "turn": "time {runs} runs",
    "device_turn": "time {runs} runs on the device",
    "flow": "run batches for {seconds:g} s",
    "closed_loop": "serve clients for {seconds:g} s",
    "open_loop": "serve {requests} requests",
    "infer": "answer {feeds} batches",
    "nodes": "say what ran where",
}


@dataclass(frozen=True)
class Work:
    """One thing that a lane is asked.

    Attributes:
        what: in words that follow 'it was asked to'.
        seconds: that it may take at most.
    """

    what: str
    seconds: float


def factor() -> float:
    """What ``PAREDOWN_PATIENCE`` says, or 1.

    Raises:
        UserError: it is no number above 0.
    """
    text = os.environ.get(FACTOR, "").strip() or "1"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{FACTOR} is '{text}': it multiplies the time that candidates get, such as 4")
    return value


def work(do: str, fields: Mapping[str, Any], feeds: int) -> Work:
    """How long a message's answer may take.

    Args:
        do: the message.
        fields: of it.
        feeds: that it carries.
    """
    runs = len(fields.get("order", ())) + len(fields.get("settle", ()))
    arrivals = fields.get("arrivals", ())
    planned = float(fields.get("seconds", arrivals[-1] / 1e9 if arrivals else 0.0))
    numbers = {"runs": runs, "feeds": feeds, "seconds": planned, "requests": len(arrivals)}
    action = _DOING.get(do, f"do '{do}'").format(**numbers)
    if do in ("start", "open", "empty"):
        return Work(action, {"start": _START_SECONDS}.get(do, _OPEN_SECONDS) * factor())
    # Under load a slow runtime answers long after the last request came.
    return Work(action, (_BASE_SECONDS + _RUN_SECONDS * (runs + feeds) + 20 * planned) * factor())


class Expired:
    """Whether the time was up."""

    def __init__(self) -> None:
        """It is not."""
        self.yes = False


@contextmanager
def limited(process: Any, seconds: float) -> Iterator[Expired]:
    """Kill a process that is not done with the block in time, which ends every wait for its pipes.

    Args:
        process: with a ``kill``.
        seconds: that the block may take.
    """
    expired = Expired()

    def end() -> None:
        expired.yes = True
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def hung(name: str, runtime: str, work: Work, last: str) -> UserError:
    """The sentence for a process that was silent for too long.

    Args:
        name: of the candidate.
        runtime: of it.
        work: what it did not finish.
        last: what it wrote on stderr.
    """
    tail = f" It last said: {last}" if last else ""
    return UserError(
        f"the process of candidate '{name}' ({runtime}) was asked to {work.what} and gave no answer for "
        f"{work.seconds:.0f} s, so it was ended; nothing was reported. Give it more memory or leave it out; "
        f"where it is only slow, set {FACTOR}=4 for four times as long.{tail}"
    )
