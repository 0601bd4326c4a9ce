"""Forks coordinators that open a lane, kills each at a moment, and says which lanes outlived it; a script.

    python orphan_driver.py ARTIFACT RUNTIME PLACE SECONDS...

PLACE is the option of ``hanging_runtime``. One coordinator for each number of seconds; it prints the ids of
the processes that are still there a while after. Forking after the imports makes a try cost what it does.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from bench.lanes.lane import Lane, LaneSpec
from compress.artifacts.artifact import Artifact

MARK = "PAREDOWN_ORPHAN_TEST"
_PATIENCE_SECONDS = 10.0


def coordinate(spec: LaneSpec) -> None:
    """Open a lane and give it a turn that never ends."""
    feed = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), dtype=np.int64)}
    with Lane(spec) as lane:
        lane.keep("feeds", [feed])
        lane.turn("feeds", [0])


def marked(mark: str) -> list[int]:
    """Living processes that carry a mark in their environment, this one left out."""
    pids = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE and process.pid != os.getpid()
            if alive and process.environ().get(MARK) == mark:
                pids.append(process.pid)
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return pids


def outlived(spec: LaneSpec, seconds: float) -> list[int]:
    """What is left of a coordinator that was killed after so many seconds."""
    mark = secrets.token_hex(8)
    child = os.fork()
    if child == 0:
        os.environ[MARK] = mark
        try:
            coordinate(spec)
        finally:
            os._exit(1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left


def main(artifact: str, runtime: str, place: str, *moments: str) -> None:
    """Kill one coordinator at each moment."""
    spec = LaneSpec("x", Artifact.open(Path(artifact)), runtime, options={"at": place})
    sys.stdout.write(f"{[outlived(spec, float(moment)) for moment in moments]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
