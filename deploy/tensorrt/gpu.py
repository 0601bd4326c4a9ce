"""The GPU as its driver describes it: what an engine is built for and bound to.

Asked through the driver's own library, because an engine is built and run where no PyTorch is.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from compress.errors import UserError

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_VERSION_FILE = Path("/proc/driver/nvidia/version")


class Gpu(BaseModel):
    """One GPU.

    Attributes:
        name: as the driver gives it.
        compute_capability: such as ``9.0``.
        memory_bytes: of the whole device.
        driver: version of the driver, where it is said.
        cuda: the newest CUDA version that the driver runs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str | None
    cuda: str


@cache
def _driver() -> ctypes.CDLL | None:
    """The driver's library, initialized; None where there is none or it finds no device."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    return library if library.cuInit(0) == 0 else None


def count() -> int:
    """How many GPUs the driver shows."""
    library = _driver()
    found = ctypes.c_int(0)
    if library is None or library.cuDeviceGetCount(ctypes.byref(found)) != 0:
        return 0
    return found.value


def index_of(device: str) -> int:
    """The number of a CUDA device: ``cuda`` is the first one.

    Raises:
        UserError: it is no CUDA device.
    """
    match = re.fullmatch(r"cuda(?::(\d+))?", device)
    if match is None:
        raise UserError(
            f"TensorRT engines are for CUDA devices; device '{device}' was asked for: use cuda or cuda:N"
        )
    return int(match[1] or 0)


@cache
def describe(index: int = 0) -> Gpu | None:
    """A GPU, or None where the driver shows none of that number."""
    library = _driver()
    if library is None or not 0 <= index < count():
        return None
    handle = ctypes.c_int(0)
    name = ctypes.create_string_buffer(256)
    memory = ctypes.c_size_t(0)
    version, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    failed = (
        library.cuDeviceGet(ctypes.byref(handle), index)
        or library.cuDeviceGetName(name, len(name), handle)
        or library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
        or library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
        or library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
        or library.cuDriverGetVersion(ctypes.byref(version))
    )
    if failed:
        return None
    return Gpu(
        name=name.value.decode(),
        compute_capability=f"{major.value}.{minor.value}",
        memory_bytes=memory.value,
        driver=driver_version(_VERSION_FILE.read_text()) if _VERSION_FILE.is_file() else None,
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


@contextmanager
def current(index: int) -> Iterator[None]:
    """Make a GPU the one that TensorRT works on in this thread; the first one is so by itself.

    Raises:
        UserError: the driver refuses.
    """
    library = _driver() if index else None
    if library is None:
        yield
        return
    device, context, before = ctypes.c_int(0), ctypes.c_void_p(None), ctypes.c_void_p(None)
    if (
        library.cuDeviceGet(ctypes.byref(device), index)
        or library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
        or library.cuCtxPushCurrent_v2(context)
    ):
        raise UserError(
            f"the driver gives no context on GPU {index}: another process may hold it exclusively"
        )
    try:
        yield
    finally:
        library.cuCtxPopCurrent_v2(ctypes.byref(before))
        library.cuDevicePrimaryCtxRelease_v2(device)


def driver_version(text: str) -> str | None:
    """The driver's version in what ``/proc/driver/nvidia/version`` says."""
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)", text)
    return found[1] if found else None


def at_least(compute_capability: str, wanted: str) -> bool:
    """Whether a compute capability is a given one or a later one."""
    return _numbers(compute_capability) >= _numbers(wanted)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


_opened: dict[str, int] = {}


def claim(device: str) -> None:
    """Note that this process opens an engine on a device; ``release`` takes it back.

    TensorRT binds an engine and its contexts to the device that was current when they were made, and
    every later call of the process must find that device current again.

    Raises:
        UserError: an engine on another device is open in this process.
    """
    wanted = f"cuda:{index_of(device)}"
    others = sorted(name for name in _opened if name != wanted)
    if others:
        raise UserError(
            f"this process has an engine open on {others[0]}, and another on {wanted} was asked for: "
            "one process serves one GPU; close the first, or start a process for each GPU "
            "(CUDA_VISIBLE_DEVICES=N)"
        )
    _opened[wanted] = _opened.get(wanted, 0) + 1


def release(device: str) -> None:
    """Take a ``claim`` back."""
    wanted = f"cuda:{index_of(device)}"
    left = _opened.get(wanted, 0) - 1
    if left > 0:
        _opened[wanted] = left
    else:
        _opened.pop(wanted, None)
