"""Processes of ours that end with the one that started them, however that one ends.

    subprocess.Popen(children.command("bench.lanes.worker"), ...)

runs a module as ``python -m`` would, after the kernel was told to kill the process when its parent dies
(``prctl(PR_SET_PDEATHSIG)``). That comes before the module and its libraries are imported, so that one which
hangs in an import is ended as well. A parent that was gone before the call is seen by its id, which the
command carries. Where there is no ``prctl`` a thread looks for the parent once a second.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0
ORPHANED = 3


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module as a child of this process.

    ``-P`` keeps the working folder off the path: a folder 'deploy' there is not ours.
    """
    return [sys.executable, "-P", "-m", "compress.children", str(os.getpid()), module, *arguments]


def end_with(parent: int) -> None:
    """Let this process end when its parent does, or now where that is gone already.

    Args:
        parent: its process id.
    """
    if not _ask_kernel():
        threading.Thread(target=_look, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(ORPHANED)


def _ask_kernel() -> bool:
    """Whether the kernel will kill this process with its parent."""
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(ORPHANED)


def main(parent: str, module: str, *arguments: str) -> None:
    """Run a module as the main one, as long as the parent lives."""
    end_with(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
