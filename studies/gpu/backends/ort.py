"""ONNX Runtime through IO binding, on CUDA with its inputs and outputs in device memory, or on the CPU.

On CUDA the session computes on a stream of ours, so that torch's events on that stream time it. The
CUDA provider has no INT8 kernels: an INT8 graph is refused there. A graph replay waits for the device
inside ``run`` in versions that do not honor ``disable_synchronize_execution_providers`` for
replays (microsoft/onnxruntime pull request 28686); ``enqueue_ms`` then holds the device's time too, and the
record says that it may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch  # before onnxruntime: it loads the CUDA libraries that the provider links

from studies.gpu import timing
from studies.gpu.backends import Feed, Subject, _torch
from studies.gpu.plan import Shape

_PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
_DTYPES = {
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
}
_NUMPY = {torch.int64: np.int64, torch.int32: np.int32, torch.float32: np.float32, torch.float16: np.float16}


def missing(device: str, precision: str) -> str | None:
    """Why it cannot run here."""
    try:
        import onnxruntime
    except ImportError as cause:
        return f"onnxruntime cannot be imported ({cause})"
    if device == "cuda" and precision == "int8":
        return "the CUDA provider of ONNX Runtime has no INT8 kernels"
    wanted, there = _PROVIDERS[device], onnxruntime.get_available_providers()
    if wanted not in there:
        return f"onnxruntime {onnxruntime.__version__} has no {wanted}, only {', '.join(there)}"
    return _torch.missing(device)


class Session(_torch.Buffers):
    """One session with its buffers bound; with a CUDA graph, the first run records it."""

    def __init__(self, session: Any, shape: Shape, feeds: Sequence[Feed], device: str, stream: Any) -> None:
        wanted = {one.name: _DTYPES[one.type] for one in session.get_inputs()}
        cast = [{n: feed[n].astype(_NUMPY[dtype]) for n, dtype in wanted.items()} for feed in feeds]
        super().__init__(cast, device)
        import onnxruntime

        self._session, self._stream = session, stream
        self._binding = session.io_binding()
        for name, tensor in self.on_device.items():
            self._binding.bind_input(
                name, device, 0, _NUMPY[tensor.dtype], tuple(tensor.shape), tensor.data_ptr()
            )
        (output,) = session.get_outputs()
        dtype = _DTYPES[output.type]
        self.result = torch.empty((shape.batch, output.shape[1]), dtype=dtype, device=device)
        self._binding.bind_output(
            output.name, device, 0, _NUMPY[dtype], tuple(self.result.shape), self.result.data_ptr()
        )
        self._options = onnxruntime.RunOptions()
        if device == "cuda":
            self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            # What was filled on torch's own stream must lie there before ours reads it.
            torch.cuda.synchronize()

    def load(self, index: int) -> None:
        """Queue the copy on the stream that computes."""
        if self._stream is None:
            super().load(index)
            return
        with torch.cuda.stream(self._stream):
            super().load(index)

    def enqueue(self) -> None:
        """One run."""
        self._session.run_with_iobinding(self._binding, self._options)

    def fetch(self) -> None:
        """Queue the copy of the result on the stream that computes."""
        if self._stream is None:
            super().fetch()
            return
        with torch.cuda.stream(self._stream):
            super().fetch()

    def synchronize(self) -> None:
        """Wait for the stream that computes."""
        if self._stream is not None:
            self._stream.synchronize()

    def close(self) -> None:
        """Let go of the session with its arena and graph, and of the buffers that it was bound to."""
        self._binding = self._session = None
        super().close()


class _StreamEvent(_torch.TorchEvent):
    """An event on the stream that computes, whatever stream is current."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    def record(self) -> None:
        """Queue the mark."""
        self._event.record(self._stream)


class Opened:
    """A graph; each way of launching and each shape is a session, since a CUDA graph holds one shape."""

    def __init__(self, subject: Subject, precision: str, device: str) -> None:
        self.path = subject.graph(precision, "typed")
        self.precision, self.device = precision, device
        self.graphs: tuple[bool, ...] = (False, True) if device == "cuda" else (False,)
        self.stream = torch.cuda.Stream() if device == "cuda" else None
        self.clock: timing.Clock = (
            timing.EventClock(lambda: _StreamEvent(self.stream)) if self.stream else timing.HostClock()
        )
        self._providers: list[str] = []

    def open(self, graph: bool, profile: str | None = None) -> Any:
        """A session on the provider that was asked for.

        Args:
            graph: whether runs are recorded and replayed.
            profile: prefix of the file where ONNX Runtime writes what each node took.

        Raises:
            RuntimeError: the session fell back to another provider.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        wanted = _PROVIDERS[self.device]
        settings = {}
        if self.stream is not None:
            settings = {
                "device_id": "0",
                "use_tf32": "0",
                "user_compute_stream": str(self.stream.cuda_stream),
                "enable_cuda_graph": "1" if graph else "0",
            }
        session = onnxruntime.InferenceSession(str(self.path), options, providers=[(wanted, settings)])
        self._providers = session.get_providers()
        if self._providers[0] != wanted:
            raise RuntimeError(f"the session runs on {self._providers[0]}, not on {wanted}")
        return session

    def session(
        self, shape: Shape, feeds: Sequence[Feed], graph: bool, profile: str | None = None
    ) -> Session:
        """Open a shape."""
        return Session(self.open(graph, profile), shape, feeds, self.device, self.stream)

    def memory(self) -> dict[str, int | None]:
        """The file's bytes, which are nearly all weights; ONNX Runtime does not tell its arena apart."""
        size = sum(file.stat().st_size for file in self.path.parent.iterdir() if file.is_file())
        weights = sum(f.stat().st_size for f in self.path.parent.iterdir() if f.name == "weights.bin")
        return {"file_bytes": size, "weights_bytes": weights or None, "activations_bytes": None}

    def facts(self) -> dict[str, Any]:
        """Providers, precision and version that really run."""
        import onnxruntime

        return {
            "onnxruntime": onnxruntime.__version__,
            "providers": self._providers,
            "precision": self.precision,
            "graph": self.path.parent.name,
            "enqueue_with_graph": "may wait for the device: host_bound says nothing there",
        }
