"""What the runtimes with a device queue share: everything that is timed goes through one ``Queue``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from deploy.runtimes import DeviceTimes
from deploy.runtimes import Runner as Base

if TYPE_CHECKING:
    # PyTorch is behind it, which a session on the CPU must not pay for with 200 MiB.
    from deploy.runtimes._queue import Queue


class Queued(Base):
    """A runner that, on a CUDA device, runs through ``self._queue``; on the CPU there is none."""

    _queue: Queue | None = None
    _graph = False

    @property
    def concurrent(self) -> bool:
        """Without a queue: its buffers serve one run at a time."""
        return self.device == "cpu"

    def fitted(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A checked feed in the shapes that really run."""
        return feed

    @property
    def queue(self) -> Queue:
        """The open queue."""
        if self._queue is None:
            raise RuntimeError(f"{type(self).__name__} has no device to run on")
        return self._queue

    def prepare(self, feed: Mapping[str, np.ndarray]) -> None:
        """Allocate and capture for these shapes."""
        checked = self.checked(feed)
        if self._queue is not None:
            self._queue.prepare(self.fitted(checked))

    def submit(self, feed: Mapping[str, np.ndarray]) -> None:
        """Enqueue a run with its transfers; on the CPU, run."""
        if self._queue is None:
            self.infer(feed)
        else:
            self._queue.submit(self.fitted(self.checked(feed)))

    def graph_choices(self) -> tuple[bool, ...]:
        """With and without a graph where it captures one."""
        if self._queue is None:
            return ()
        return (False, True) if self._graph else (False,)

    def device_times(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> DeviceTimes:
        """Time one run between two device events, and its enqueuing on the host."""
        return self.queue.times(self.fitted(self.checked(feed)), graph=graph)

    def end_to_end_ms(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> float:
        """Time one run with its transfers and one wait at the end."""
        return self.queue.end_to_end_ms(self.fitted(self.checked(feed)), graph=graph)

    def sync(self) -> None:
        """Wait for the device."""
        if self._queue is not None:
            self._queue.synchronize()

    def close_queue(self) -> None:
        """Let go of buffers, graphs and contexts."""
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close()
