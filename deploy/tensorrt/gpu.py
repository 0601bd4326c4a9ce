"""The GPU as its driver describes it: what an engine is built for and bound to.

The driver itself is asked, because an engine is built and run where no PyTorch is.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from compress.errors import UserError
from deploy.cuda_driver import CudaError, call, library

_NAME_BYTES = 256
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


def count() -> int:
    """How many GPUs the driver shows."""
    driver = library()
    return 0 if driver is None else int(call(driver, "cuDeviceGetCount"))


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
    driver = library()
    if driver is None or not 0 <= index < count():
        return None
    attributes = driver.CUdevice_attribute
    device = call(driver, "cuDeviceGet", index)
    major, minor = (
        call(driver, "cuDeviceGetAttribute", attribute, device)
        for attribute in (
            attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
    )
    version = int(call(driver, "cuDriverGetVersion"))
    return Gpu(
        name=bytes(call(driver, "cuDeviceGetName", _NAME_BYTES, device)).partition(b"\0")[0].decode(),
        compute_capability=f"{major}.{minor}",
        memory_bytes=int(call(driver, "cuDeviceTotalMem", device)),
        driver=driver_version(_VERSION_FILE.read_text()) if _VERSION_FILE.is_file() else None,
        cuda=f"{version // 1000}.{version % 1000 // 10}",
    )


def hold(index: int) -> str:
    """Make the context that all of this process share on a GPU, for as long as it lives.

    Returns:
        The GPU's identity, as NVML writes it.

    Raises:
        UserError: there is no driver, or it gives no context.
    """
    driver = library()
    if driver is None:
        raise UserError("libcuda.so.1, the driver's library, is not there or finds no device")
    try:
        device = call(driver, "cuDeviceGet", index)
        identity = bytes(call(driver, "cuDeviceGetUuid", device).bytes)
        call(driver, "cuDevicePrimaryCtxRetain", device)
    except CudaError as cause:
        raise UserError(str(cause)) from cause
    return f"GPU-{uuid.UUID(bytes=identity)}"


@contextmanager
def current(index: int) -> Iterator[None]:
    """Make a GPU the one that TensorRT works on in this thread; the first one is so by itself.

    Raises:
        UserError: the driver refuses.
    """
    driver = library() if index else None
    if driver is None:
        yield
        return
    try:
        device = call(driver, "cuDeviceGet", index)
        call(driver, "cuCtxPushCurrent", call(driver, "cuDevicePrimaryCtxRetain", device))
    except CudaError as cause:
        raise UserError(
            f"the driver gives no context on GPU {index}: another process may hold it exclusively"
        ) from cause
    try:
        yield
    finally:
        call(driver, "cuCtxPopCurrent")
        call(driver, "cuDevicePrimaryCtxRelease", device)


def driver_version(text: str) -> str | None:
    """The driver's version in what ``/proc/driver/nvidia/version`` says."""
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)", text)
    return match[1] if match else None


def at_least(compute_capability: str, minimum: str) -> bool:
    """Whether a compute capability is a given one or a later one."""
    return _numbers(compute_capability) >= _numbers(minimum)


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
    key = f"cuda:{index_of(device)}"
    open_devices = sorted(name for name in _opened if name != key)
    if open_devices:
        raise UserError(
            f"this process has an engine open on {open_devices[0]}, and another on {key} was asked for: "
            "one process serves one GPU; close the first, or start a process for each GPU "
            "(CUDA_VISIBLE_DEVICES=N)"
        )
    _opened[key] = _opened.get(key, 0) + 1


def release(device: str) -> None:
    """Take a ``claim`` back."""
    key = f"cuda:{index_of(device)}"
    left = _opened.get(key, 0) - 1
    if left > 0:
        _opened[key] = left
    else:
        _opened.pop(key, None)
