"""An empty process with a CUDA context: what the context alone costs, and which GPU a device is.

``python -m bench.machine.context N`` makes a context on device N, writes one JSON line and keeps the context
until its stdin ends. The driver's library is asked directly, so that nothing but the context is in its
memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compress import children
from compress.errors import UserError


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
            said = json.loads(line) if line.strip() else {"error": "the process ended"}
            if "error" in said:
                raise UserError(f"no CUDA context can be made on device {index}: {said['error']}")
            yield Context(child.pid, said["uuid"])
        finally:
            if child.stdin:
                child.stdin.close()
            child.wait(30)


def make(index: int) -> str:
    """Make a context on a device; its UUID.

    Raises:
        RuntimeError: a call of the driver failed; the message names it.
    """
    driver = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *given: object) -> None:
        code = getattr(driver, name)(*given)
        if code != 0:
            raise RuntimeError(f"{name} failed with CUDA error {code}")

    device, context = ctypes.c_int(), ctypes.c_void_p()
    identity = (ctypes.c_ubyte * 16)()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), index)
    call("cuDeviceGetUuid", ctypes.byref(identity), device)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    return f"GPU-{uuid.UUID(bytes=bytes(identity))}"


def main(index: int) -> None:
    """Make the context, say which GPU it is on, and wait."""
    try:
        said = {"uuid": make(index)}
    except (OSError, RuntimeError) as cause:
        said = {"error": str(cause)}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
