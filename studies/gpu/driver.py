"""The CUDA driver through ctypes: memory, one stream, events and graphs, for where there is no torch.

Only ``libcuda.so.1`` is needed, which comes with the driver. Names are those of the driver API; the
``_v2`` suffixes are the entry points that the headers map the plain names to since CUDA 3.2 and 10.1.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from compress.errors import UserError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING


class Driver:
    """The library, with every return code checked."""

    def __init__(self, library: Any = None) -> None:
        """Load the library and make the primary context of device 0 current.

        Args:
            library: something with the entry points, for tests.

        Raises:
            UserError: there is no driver, or it refuses.
        """
        try:
            self._library = library if library is not None else c.CDLL("libcuda.so.1")
        except OSError as cause:
            raise UserError(f"there is no CUDA driver here ({cause})") from cause
        self.call("cuInit", c.c_uint(0))
        device, context = c.c_int(), c.c_void_p()
        self.call("cuDeviceGet", c.byref(device), c.c_int(0))
        self.call("cuDevicePrimaryCtxRetain", c.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *arguments: Any) -> None:
        """Call an entry point.

        Raises:
            RuntimeError: it returned an error; the number is CUresult's.
        """
        code = getattr(self._library, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} returned CUDA error {code}")

    def free_and_total(self) -> tuple[int, int]:
        """Bytes of device memory that are free, and that there are."""
        free, total = c.c_size_t(), c.c_size_t()
        self.call("cuMemGetInfo_v2", c.byref(free), c.byref(total))
        return free.value, total.value

    def stream(self) -> c.c_void_p:
        """A stream of its own that does not wait for the default one."""
        made = c.c_void_p()
        self.call("cuStreamCreate", c.byref(made), c.c_uint(_NON_BLOCKING))
        return made

    def synchronize(self, stream: c.c_void_p) -> None:
        """Wait for a stream."""
        self.call("cuStreamSynchronize", stream)

    def allocate(self, size: int) -> c.c_uint64:
        """Device memory; at least one byte."""
        made = c.c_uint64()
        self.call("cuMemAlloc_v2", c.byref(made), c.c_size_t(max(1, size)))
        return made

    def free(self, address: c.c_uint64) -> None:
        """Give device memory back."""
        self.call("cuMemFree_v2", address)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """A host array in page-locked memory, which lives until ``free_pinned``."""
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        made = c.c_void_p()
        self.call("cuMemHostAlloc", c.byref(made), c.c_size_t(size), c.c_uint(0))
        if made.value is None:
            raise RuntimeError("cuMemHostAlloc returned no memory")
        raw = (c.c_byte * size).from_address(made.value)
        return np.ctypeslib.as_array(raw).view(dtype)[: int(np.prod(shape))].reshape(shape)

    def free_pinned(self, array: np.ndarray) -> None:
        """Give the page-locked memory of an array from ``pinned`` back; nothing may look at it any more."""
        self.call("cuMemFreeHost", c.c_void_p(array.ctypes.data))

    def to_device(self, address: c.c_uint64, array: np.ndarray, stream: c.c_void_p) -> None:
        """Queue a copy from a (pinned) host array."""
        self.call(
            "cuMemcpyHtoDAsync_v2", address, c.c_void_p(array.ctypes.data), c.c_size_t(array.nbytes), stream
        )

    def to_host(self, array: np.ndarray, address: c.c_uint64, stream: c.c_void_p) -> None:
        """Queue a copy to a (pinned) host array."""
        self.call(
            "cuMemcpyDtoHAsync_v2", c.c_void_p(array.ctypes.data), address, c.c_size_t(array.nbytes), stream
        )

    def capture(self, stream: c.c_void_p, enqueue: Callable[[], None]) -> c.c_void_p:
        """Record what ``enqueue`` queues into an executable graph."""
        graph, made = c.c_void_p(), c.c_void_p()
        self.call("cuStreamBeginCapture_v2", stream, c.c_uint(_THREAD_LOCAL))
        try:
            enqueue()
        except BaseException:
            # The stream must leave the capture; the error that broke it is the one to tell.
            with suppress(RuntimeError):
                self.call("cuStreamEndCapture", stream, c.byref(graph))
            raise
        self.call("cuStreamEndCapture", stream, c.byref(graph))
        try:
            self.call("cuGraphInstantiateWithFlags", c.byref(made), graph, c.c_uint64(0))
        finally:
            self.call("cuGraphDestroy", graph)
        return made

    def destroy(self, graph: c.c_void_p) -> None:
        """Give an executable graph back."""
        self.call("cuGraphExecDestroy", graph)

    def launch(self, graph: c.c_void_p, stream: c.c_void_p) -> None:
        """Queue an executable graph."""
        self.call("cuGraphLaunch", graph, stream)


class Event:
    """A timing event on a stream."""

    def __init__(self, driver: Driver, stream: c.c_void_p) -> None:
        self._driver, self._stream = driver, stream
        self.handle = c.c_void_p()
        driver.call("cuEventCreate", c.byref(self.handle), c.c_uint(0))

    def record(self) -> None:
        """Queue the mark."""
        self._driver.call("cuEventRecord", self.handle, self._stream)

    def synchronize(self) -> None:
        """Wait until the device passed it."""
        self._driver.call("cuEventSynchronize", self.handle)

    def elapsed_ms(self, later: Event) -> float:
        """Device milliseconds from here to a later event."""
        taken = c.c_float()
        self._driver.call("cuEventElapsedTime", c.byref(taken), self.handle, later.handle)
        return float(taken.value)
