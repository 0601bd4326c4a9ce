"""A CUDA device as the runtimes use it: streams, events, buffers on both sides, captured graphs.

One door over ``torch.cuda``, which PyTorch, ONNX Runtime and TensorRT share: the latter two take raw
stream handles and addresses. Everything that touches the device goes through a ``Device``, so that the
order of calls can be checked without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch

from compress import environment
from compress.errors import UserError

Tensors = dict[str, torch.Tensor]
Stream = Any  # a ``torch.cuda.Stream``, which PyTorch does not type
# A stream's lazily made handles (cuBLAS and the like) must exist before a graph is captured.
_WARM_RUNS = 3


class Device:
    """One CUDA device; nothing is allocated before it is asked for.

    Attributes:
        name: ``cuda`` or ``cuda:N``.
        index: N.
        where: the device as PyTorch names it.
    """

    def __init__(self, name: str) -> None:
        """Check that it exists.

        Args:
            name: ``cuda`` or ``cuda:N``.

        Raises:
            UserError: there is no such device.
        """
        self.name = environment.resolve_device(name)
        self.index = int(self.name.partition(":")[2] or 0)
        self.where = torch.device("cuda", self.index)
        self._pool: Any = None

    def current(self) -> AbstractContextManager[Any]:
        """A block in which libraries that use "the current device" use this one."""
        return torch.cuda.device(self.index)

    def stream(self) -> Stream:
        """A stream of its own; ``cuda_stream`` is its raw handle."""
        return torch.cuda.Stream(self.where)

    def on(self, stream: Stream) -> AbstractContextManager[Any]:
        """A block in which PyTorch works on a stream of this device."""
        return torch.cuda.stream(stream)

    def event(self, *, timed: bool = False) -> Any:
        """An event; ``timed`` ones give milliseconds between two of them."""
        return torch.cuda.Event(enable_timing=timed)

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A buffer on the device; its address stays while it lives."""
        return torch.empty(tuple(shape), dtype=dtype, device=self.where)

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A page-locked buffer on the host, from and to which copies need not wait."""
        return torch.zeros(tuple(shape), dtype=dtype, pin_memory=True)

    def capture(self, stream: Stream, launch: Callable[[], Tensors]) -> Callable[[], Tensors]:
        """Record what ``launch`` enqueues as a CUDA graph.

        The graphs of one device share their scratch memory: they never run at the same time on
        one stream, and outputs are copied away before the next replay.

        Args:
            stream: that it is recorded on and will be replayed on.
            launch: enqueues the work on the current stream, at fixed addresses.

        Returns:
            A function that replays the graph and gives the tensors that it writes.

        Raises:
            UserError: the work cannot be recorded (it waits for the device, say).
        """
        with self.on(stream):
            for _ in range(_WARM_RUNS):
                launch()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                outputs = launch()
        except RuntimeError as cause:
            reason = str(cause).strip().splitlines()[0]
            raise UserError(
                f"this model cannot be recorded as a CUDA graph ({reason}): turn the graph off"
            ) from cause

        def replay() -> Tensors:
            graph.replay()
            return outputs

        return replay

    def memory(self) -> tuple[int, int]:
        """Free and total bytes, as the driver says."""
        return torch.cuda.mem_get_info(self.index)

    def release(self) -> None:
        """Give buffers that nobody holds any more back to the driver."""
        self._pool = None
        torch.cuda.synchronize(self.index)
        torch.cuda.empty_cache()
