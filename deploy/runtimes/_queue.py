"""Running on a device's queue: buffers by shape, pinned transfers, and what of it is timed.

A ``Queue`` keeps, for every set of input shapes, a ``Work``: device buffers at fixed addresses, a way to
enqueue one run on them, and, where there is one, the same run as a CUDA graph. A run copies the arrays into
pinned memory, enqueues the copy to the device, the run, and the copy back, and waits once. Two pinned sets a
shape let the host fill one while the device still reads the other.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from deploy.device import Device, Stream, Tensors
from deploy.runtimes import DeviceTimes

Shapes = Mapping[str, tuple[int, ...]]
_SETS = 2


@dataclass
class Work:
    """What a runtime prepared for one set of shapes.

    Attributes:
        inputs: device buffers, by name; their addresses stay.
        launch: enqueues one run on the current stream; the device tensors that it writes.
        replay: the same as a captured graph; None where there is none.
        held: whatever must live as long (an execution context, a binding).
    """

    inputs: Tensors
    launch: Callable[[], Tensors]
    replay: Callable[[], Tensors] | None = None
    held: Any = None


Build = Callable[[Shapes, int, Stream], Work]


@dataclass
class _Staging:
    """One pinned set: inputs, outputs (made when their shapes are known), and the event of its last use."""

    inputs: Tensors
    done: Any
    outputs: Tensors = field(default_factory=dict)
    used: bool = False


@dataclass
class _Slot:
    work: Work
    stagings: list[_Staging]
    start: Any
    end: Any
    turn: int = 0


class _Lane:
    """One stream with its slots, the least recently used first."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.slots: OrderedDict[tuple[tuple[str, tuple[int, ...]], ...], _Slot] = OrderedDict()


class Queue:
    """Runs feeds on one device, on one stream or on several."""

    def __init__(self, device: Device, build: Build, *, streams: int = 1, limit: int = 128) -> None:
        """Make the streams.

        Args:
            device: to run on.
            build: from input shapes, number of the stream and the stream to the work.
            streams: on which ``submit`` takes turns; ``run`` uses the first.
            limit: sets of shapes that each stream keeps; the least recently used one makes room.
        """
        self._device = device
        self._build = build
        self._limit = limit
        self._lanes = [_Lane(device.stream()) for _ in range(streams)]
        self._next = 0

    def stream_handle(self, number: int = 0) -> int:
        """The raw handle of a stream."""
        return int(self._lanes[number].stream.cuda_stream)

    def prepare(self, feed: Mapping[str, np.ndarray]) -> None:
        """Allocate and capture for the shapes of a feed, on every stream."""
        for number in range(len(self._lanes)):
            self._slot(number, feed)

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Copy in, run, copy out, wait; floating outputs come as float32."""
        staging = self._enqueue(0, feed)
        staging.done.synchronize()
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).numpy()
            for name, tensor in staging.outputs.items()
        }

    def submit(self, feed: Mapping[str, np.ndarray]) -> None:
        """Enqueue a run with its copies and do not wait for it; streams take turns."""
        self._enqueue(self._next, feed)
        self._next = (self._next + 1) % len(self._lanes)

    def times(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> DeviceTimes:
        """Time one run with its inputs on the device: between two events, and of enqueuing it on the host."""
        slot, stream = self._slot(0, feed), self._lanes[0].stream
        run = self._way(slot, graph=graph)
        with self._device.on(stream):
            staging = self._load(slot, feed)
            staging.done.record(stream)
            stream.synchronize()
            slot.start.record(stream)
            started = time.perf_counter_ns()
            run()
            enqueue_ns = time.perf_counter_ns() - started
            slot.end.record(stream)
            slot.end.synchronize()
        return DeviceTimes(gpu_ms=slot.start.elapsed_time(slot.end), enqueue_ms=enqueue_ns / 1e6)

    def end_to_end_ms(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> float:
        """Time one run from arrays to arrays on the host."""
        started = time.perf_counter_ns()
        staging = self._enqueue(0, feed, graph=graph)
        staging.done.synchronize()
        return (time.perf_counter_ns() - started) / 1e6

    def synchronize(self) -> None:
        """Wait until every stream is idle."""
        for lane in self._lanes:
            lane.stream.synchronize()

    def close(self) -> None:
        """Wait, then let go of every buffer, graph and context."""
        self.synchronize()
        for lane in self._lanes:
            lane.slots.clear()
        self._lanes = []

    def _enqueue(self, number: int, feed: Mapping[str, np.ndarray], *, graph: bool | None = None) -> _Staging:
        slot, stream = self._slot(number, feed), self._lanes[number].stream
        run = self._way(slot, graph=slot.work.replay is not None if graph is None else graph)
        with self._device.on(stream):
            staging = self._load(slot, feed)
            for name, tensor in run().items():
                if name not in staging.outputs:
                    staging.outputs[name] = self._device.pinned(tensor.shape, tensor.dtype)
                staging.outputs[name].copy_(tensor, non_blocking=True)
            staging.done.record(stream)
        return staging

    @staticmethod
    def _way(slot: _Slot, *, graph: bool) -> Callable[[], Tensors]:
        if not graph:
            return slot.work.launch
        if slot.work.replay is None:
            raise RuntimeError("a graph was asked for and none was captured")
        return slot.work.replay

    def _load(self, slot: _Slot, feed: Mapping[str, np.ndarray]) -> _Staging:
        """Fill the pinned set whose turn it is, and enqueue its copy to the device."""
        staging = slot.stagings[slot.turn]
        slot.turn = (slot.turn + 1) % len(slot.stagings)
        if staging.used:
            staging.done.synchronize()
        staging.used = True
        for name, array in feed.items():
            staging.inputs[name].copy_(torch.from_numpy(array))
            slot.work.inputs[name].copy_(staging.inputs[name], non_blocking=True)
        return staging

    def _slot(self, number: int, feed: Mapping[str, np.ndarray]) -> _Slot:
        lane = self._lanes[number]
        key = tuple((name, array.shape) for name, array in sorted(feed.items()))
        if key in lane.slots:
            lane.slots.move_to_end(key)
            return lane.slots[key]
        while len(lane.slots) >= self._limit:
            lane.stream.synchronize()
            lane.slots.popitem(last=False)
        # Buffers are made and used on one stream: the allocator never hands one out while it is in use.
        with self._device.current(), self._device.on(lane.stream):
            work = self._build(dict(key), number, lane.stream)
            if work.replay is None:
                work.launch()  # whatever is done only once (compiling, choosing kernels) is done here
            stagings = [
                _Staging(
                    inputs={
                        name: self._device.pinned(buffer.shape, buffer.dtype)
                        for name, buffer in work.inputs.items()
                    },
                    done=self._device.event(),
                )
                for _ in range(_SETS)
            ]
        lane.slots[key] = _Slot(
            work=work,
            stagings=stagings,
            start=self._device.event(timed=True),
            end=self._device.event(timed=True),
        )
        return lane.slots[key]
