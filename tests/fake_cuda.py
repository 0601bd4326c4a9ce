"""A CUDA device without a device: it checks the order of calls, and computes in host memory.

Work that a fake library enqueues is a *kernel*: a function on fixed addresses. On a stream that is being
captured it is recorded and not run; a replay runs what was recorded, and nothing else.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch

GIB = 2**30


class Stream:
    """A queue that runs at once, unless it is being captured."""

    _handles = itertools.count(1000)
    by_handle: ClassVar[dict[int, Stream]] = {}

    def __init__(self) -> None:
        self.cuda_stream = next(self._handles)
        self.recording: list[Callable[[], None]] | None = None
        self.waits = 0
        Stream.by_handle[self.cuda_stream] = self

    def synchronize(self) -> None:
        assert self.recording is None, "a stream was waited for while it was captured"
        self.waits += 1

    def enqueue(self, kernel: Callable[[], None]) -> None:
        if self.recording is None:
            kernel()
        else:
            self.recording.append(kernel)


class Event:
    """An event that must be recorded before it is waited for."""

    def __init__(self, timed: bool) -> None:
        self.timed = timed
        self.recorded = False
        self.waits = 0

    def record(self, stream: Stream) -> None:
        self.recorded = True

    def synchronize(self) -> None:
        assert self.recorded, "an event was waited for and never recorded"
        self.waits += 1

    def elapsed_time(self, end: Event) -> float:
        assert all((self.timed, end.timed, self.recorded, end.recorded))
        return 0.25


class Device:
    """What ``deploy.device.Device`` offers, in host memory."""

    where = torch.device("cpu")
    now: ClassVar[list[int]] = []  # indices of the devices that are current, the innermost last
    free, total = 8 * GIB, 16 * GIB

    def __init__(self, name: str) -> None:
        self.name = name
        self.index = int(name.partition(":")[2] or 0)
        self.buffers: list[torch.Tensor] = []
        self.captures = self.replays = self.released = 0

    @contextmanager
    def current(self) -> Iterator[None]:
        Device.now.append(self.index)
        try:
            yield
        finally:
            Device.now.pop()

    def stream(self) -> Stream:
        return Stream()

    @contextmanager
    def on(self, stream: Stream) -> Iterator[None]:
        with self.current():
            yield

    def event(self, *, timed: bool = False) -> Event:
        return Event(timed)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        tensor = (
            torch.full(tuple(shape), 77, dtype=dtype)
            if dtype != torch.bool
            else torch.ones(tuple(shape), dtype=dtype)
        )
        self.buffers.append(tensor)
        return tensor

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros(tuple(shape), dtype=dtype)

    def capture(self, stream: Stream, launch: Callable[[], Any]) -> Callable[[], Any]:
        launch()
        self.captures += 1
        stream.recording = []
        outputs = launch()
        kernels, stream.recording = stream.recording, None

        def replay() -> Any:
            self.replays += 1
            for kernel in kernels:
                kernel()
            if not kernels:  # PyTorch's own work is no kernel here: it is done anew, into the same tensors
                with torch.inference_mode():
                    for name, tensor in launch().items():
                        outputs[name].copy_(tensor)
            return outputs

        return replay

    def memory(self) -> tuple[int, int]:
        return self.free, self.total

    def release(self) -> None:
        self.released += 1


def at(address: int, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """The array that lies at an address."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize
    return np.frombuffer((ctypes.c_byte * size).from_address(address), dtype=kind).reshape(shape)
