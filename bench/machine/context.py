"""An empty process with a CUDA context: what the context alone costs, and which GPU a device is.

``python -m bench.machine.context N`` makes a context on device N, writes one JSON line and keeps the context
until its stdin ends. The driver is asked directly, so that nothing but the context is in the GPU's memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compress import children
from compress.errors import UserError
from deploy.tensorrt import gpu


@dataclass(frozen=True)
class Context:
    """A process that holds nothing but a context.

    Attributes:
        pid: of the process.
        uuid: of the GPU, as NVML writes it.
    """

    pid: int
    uuid: str


@contextmanager
def held(index: int) -> Iterator[Context]:
    """A process with a context on device ``index``; it ends with the block.

    Raises:
        UserError: there can be no context; the message says why.
    """
    path = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH")]
    with subprocess.Popen(
        children.command("bench.machine.context", str(index)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            line = child.stdout.readline() if child.stdout else ""
            reply = json.loads(line) if line.strip() else {"error": "the process ended"}
            if "error" in reply:
                raise UserError(f"no CUDA context can be made on device {index}: {reply['error']}")
            yield Context(child.pid, reply["uuid"])
        finally:
            if child.stdin:
                child.stdin.close()
            child.wait(30)


def main(index: int) -> None:
    """Make the context, say which GPU it is on, and wait."""
    try:
        reply = {"uuid": gpu.hold(index)}
    except UserError as cause:
        reply = {"error": str(cause)}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
