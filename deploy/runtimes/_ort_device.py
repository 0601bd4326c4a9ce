"""An ONNX Runtime session on a GPU: our stream, our buffers, and a CUDA graph a shape.

The session computes on a stream that we made, so that device events around a run time it and nothing else.
Inputs and outputs are bound to fixed addresses. With graphs, a run option names the graph
(``gpu_graph_id``), one a set of shapes; -1 runs without. ONNX Runtime itself captures in the second run
of an id, replays from the third, and waits for the device at the end of a replay.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress.artifacts.store import default_root
from compress.errors import UserError
from deploy import session
from deploy.device import Device, Stream, Tensors
from deploy.graph import facts as graph_facts
from deploy.runtimes._queue import Queue, Shapes, Work

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.graph.facts import GraphFacts

_TORCH = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(bfloat16)": torch.bfloat16,
    "tensor(double)": torch.float64,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(uint8)": torch.uint8,
    "tensor(int8)": torch.int8,
    "tensor(bool)": torch.bool,
}
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16: numpy has no such type
_NO_GRAPH = "-1"
# Of one graph id: one plain run, one that captures, one that replays.
_CAPTURE_RUNS = 3


def providers(
    artifact: Artifact, device: str, facts: GraphFacts, provider: str | None, stream: int, *, graph: bool
) -> list[tuple[str, dict[str, str]]]:
    """The providers to open a session with, and their settings.

    Args:
        artifact: whose engines are cached (TensorRT).
        device: ``cuda`` or ``cuda:N``.
        facts: of the graph: its precision decides what TensorRT may use.
        provider: ``tensorrt``, or CUDA alone.
        stream: raw handle of the stream to compute on.
        graph: whether CUDA graphs are to be captured.
    """
    settings = {**session.device_settings(device), "user_compute_stream": str(stream)}
    cuda = {**settings, "enable_cuda_graph": "1"} if graph else settings
    choices = [(session.provider(device), cuda)]
    if provider == "tensorrt":
        cache = default_root() / "ort-tensorrt" / artifact.id
        cache.mkdir(parents=True, exist_ok=True)
        engine = {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
        # A graph with Q/DQ nodes runs what is between them in FP16, as our own engines do.
        if facts.precision in ("fp16", "int8"):
            engine["trt_fp16_enable"] = "1"
        if facts.precision == "int8":
            engine["trt_int8_enable"] = "1"
        if facts.precision == "bf16":
            engine["trt_bf16_enable"] = "1"
        choices.insert(0, (session.TENSORRT, {**settings, **engine}))
    return choices


class OnDevice:
    """A session, its queue and its bindings."""

    def __init__(
        self,
        artifact: Artifact,
        device: str,
        threads: int | None,
        facts: GraphFacts,
        provider: str | None,
        *,
        graph: bool,
    ) -> None:
        """Open the session on a stream of its own.

        Raises:
            UserError: the provider cannot be loaded, or a node does not run on the device.
        """
        self.device = Device(device)
        self._graph = graph
        self._ids = itertools.count(1)  # 0 is the library's own
        self.queue = Queue(self.device, self.work)
        ort = session.onnxruntime()
        if provider == "tensorrt" and session.TENSORRT not in ort.get_available_providers():
            raise UserError(
                "provider 'tensorrt' was asked for and the installed ONNX Runtime was built without it: "
                "pip install 'paredown[gpu]', or leave the provider out"
            )
        choices = providers(artifact, device, facts, provider, self.queue.stream_handle(), graph=graph)
        try:
            self.session = session.open_session(
                artifact.file(graph_facts.MODEL), device, threads, providers=choices
            )
        except UserError:
            raise
        except Exception as cause:
            if not graph:
                raise
            raise UserError(
                f"{artifact.path}: ONNX Runtime cannot record this graph as a CUDA graph "
                f"({' '.join(str(cause).split())[:300]}): leave graph=true out"
            ) from cause
        self._types = {
            port.name: port.type for port in (*self.session.get_inputs(), *self.session.get_outputs())
        }

    def close(self) -> None:
        """Let go of the session, then of the device's memory; after the queue was closed."""
        self.session = None
        self.device.release()

    def work(self, shapes: Shapes, number: int, stream: Stream) -> Work:
        """Buffers for one set of shapes, bound at their addresses."""
        binding = self.session.io_binding()
        inputs = {
            name: self.device.empty(shape, _TORCH[self._types[name]]).zero_()
            for name, shape in shapes.items()
        }
        for name, buffer in inputs.items():
            self._bind(binding.bind_input, name, buffer)
        plain = self._options(_NO_GRAPH)
        names = [port.name for port in self.session.get_outputs()]
        for name in names:
            binding.bind_output(name, "cuda", self.device.index)
        stream.synchronize()  # the buffers are zero before the session reads them
        self.session.run_with_iobinding(binding, plain)
        stream.synchronize()
        # The session says how large its outputs are; from now on they lie in buffers of ours.
        outputs = {
            name: self.device.empty(value.shape(), _TORCH[self._types[name]])
            for name, value in zip(names, binding.get_outputs(), strict=True)
        }
        binding.clear_binding_outputs()
        for name, buffer in outputs.items():
            self._bind(binding.bind_output, name, buffer)

        def runs(chosen: Any) -> Any:
            def run() -> Tensors:
                self.session.run_with_iobinding(binding, chosen)
                return outputs

            return run

        replay = None
        if self._graph:
            replay = runs(self._options(str(next(self._ids))))
            for _ in range(_CAPTURE_RUNS):
                replay()
            stream.synchronize()
        return Work(inputs=inputs, launch=runs(plain), replay=replay, held=binding)

    def _options(self, graph_id: str) -> Any:
        chosen = session.onnxruntime().RunOptions()
        chosen.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self._graph:
            chosen.add_run_config_entry("gpu_graph_id", graph_id)
        return chosen

    def _bind(self, bind: Any, name: str, buffer: torch.Tensor) -> None:
        kind = _BFLOAT16 if buffer.dtype == torch.bfloat16 else _numpy(buffer.dtype)
        bind(name, "cuda", self.device.index, kind, list(buffer.shape), buffer.data_ptr())


def _numpy(dtype: torch.dtype) -> Any:
    return np.dtype(str(dtype).removeprefix("torch."))
