"""ONNX Runtime, on the CPU, CUDA or TensorRT provider: the one that was asked for, or a refusal."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress import environment
from compress.errors import UserError
from deploy import session
from deploy.graph import facts as graph_facts
from deploy.graph.facts import GraphFacts
from deploy.node_time import NodeTime
from deploy.runtimes import DeviceMemory, TensorSpec, _profile
from deploy.runtimes._queued import Queued

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}
_PROVIDERS = ("cpu", "cuda", "tensorrt")


def refusal(facts: GraphFacts, device: str, provider: str | None = None) -> str | None:
    """Why a graph cannot run on a device, as a sentence; None if it can.

    Args:
        facts: of the graph.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        provider: ``tensorrt``, or the device's own when None.
    """
    cuda = device.startswith("cuda")
    if facts.precision == "int8" and cuda and provider != "tensorrt":
        return (
            "ONNX Runtime's CUDA provider has no INT8 kernels (an INT8 graph runs slower there than "
            "FP32): run it with --device cpu, or make an FP16 graph with quantize --precision fp16"
        )
    if facts.precision == "fp8":
        return (
            "ONNX Runtime has no FP8 products, and would only imitate them in FP32: build a TensorRT engine "
            "of this graph for a GPU of compute capability 8.9 or later, or make an INT8 graph"
        )
    if "bf16" in (facts.precision, facts.rest) and not cuda:
        return (
            "ONNX Runtime's CPU provider has no BF16 kernels: run this graph on a CUDA device, or make "
            "an INT8 or FP16 graph for the CPU"
        )
    if facts.fused and provider == "tensorrt":
        return (
            "this graph holds operators of ONNX Runtime's own domain, which its TensorRT provider leaves to "
            "others: export again without --fuse"
        )
    return None


def _spec(argument: Any, limits: dict[int, int]) -> TensorSpec:
    return TensorSpec(
        name=argument.name,
        dtype=_DTYPES.get(argument.type, argument.type),
        shape=tuple(size if isinstance(size, int) else None for size in argument.shape),
        limits=tuple(sorted(limits.items())),
    )


class Runner(Queued):
    """An ONNX artifact in an ONNX Runtime session.

    Options:
        provider: ``cpu``, ``cuda`` or ``tensorrt``; the device's own by default.
        graph: on CUDA, replay a CUDA graph a shape; every node must run on the device.
    """

    ACCEPTS = frozenset({"onnx"})

    @classmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """Why ONNX Runtime cannot run on that device here."""
        installed = environment.onnxruntime_distribution()
        if installed is None:
            return "ONNX Runtime is not installed: run pip install 'paredown[cpu]'"
        provider = session.provider(device)
        if provider in session.onnxruntime().get_available_providers():
            return None
        return (
            f"'{device}' was asked for and {installed} {environment.version(installed)} has no {provider}: "
            "run pip uninstall onnxruntime && pip install 'paredown[gpu]', or use --device cpu"
        )

    def configure(self, *, provider: str | None = None, graph: bool = False, **options: Any) -> None:
        """Take provider and graph.

        Raises:
            UserError: a provider that is not there for the device, or a graph where there can be none.
        """
        super().configure(**options)
        family = "cpu" if self.device == "cpu" else "cuda"
        if provider not in (None, *_PROVIDERS):
            raise UserError(f"runtime 'ort' has no provider '{provider}'. Allowed: {', '.join(_PROVIDERS)}.")
        if provider is not None and (provider == "cpu") != (family == "cpu"):
            raise UserError(
                f"provider '{provider}' does not run on '{self.device}': use --device "
                f"{'cpu' if provider == 'cpu' else 'cuda'}, or leave the provider out"
            )
        if graph and family == "cpu":
            raise UserError("graph=true records a CUDA graph, and a CPU has none: use --device cuda")
        if graph and provider == "tensorrt":
            raise UserError(
                "ONNX Runtime's TensorRT provider keeps one CUDA graph for one shape: leave graph=true out, "
                "or build an engine and run it in runtime 'trt', which keeps one for every shape"
            )
        self._provider, self._graph = provider, graph

    def open(self) -> None:
        """Open the session and read its inputs and outputs.

        Raises:
            UserError: this graph cannot run on that device.
        """
        facts = graph_facts.read(self.artifact)
        reason = refusal(facts, self.device, self._provider)
        if reason:
            raise UserError(f"{self.artifact.path}: {reason}")
        self._facts, self._refusals = facts, session.refusals()
        model = self.artifact.file(graph_facts.MODEL)
        self._on_device: Any = None
        if self.device == "cpu":
            with session.given(model):
                self._session: Any = session.open_session(model, self.device, self.threads)
        else:
            from deploy.runtimes._ort_device import OnDevice

            self._on_device = OnDevice(
                self.artifact, self.device, self.threads, facts, self._provider, graph=self._graph
            )
            self._session, self._queue = self._on_device.session, self._on_device.queue
        self._inputs = tuple(
            _spec(port, facts.limits.get(port.name, {})) for port in self._session.get_inputs()
        )
        self._outputs = tuple(_spec(port, {}) for port in self._session.get_outputs())
        self._names = [port.name for port in self._outputs]

    def close(self) -> None:
        """Let go of the session."""
        self.close_queue()
        self._session = None
        device, self._on_device = self._on_device, None
        if device is not None:
            device.close()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs with their limits."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._outputs

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on the CPU directly, on a device through bound buffers."""
        if self._queue is not None:
            return self._queue.run(feed)
        try:
            return dict(zip(self._names, self._session.run(self._names, feed), strict=True))
        except self._refusals as cause:
            raise session.refused(self.artifact.path / graph_facts.MODEL, cause) from cause

    def enqueue_waits(self, *, graph: bool) -> bool:
        """ONNX Runtime waits for the device at the end of a graph's replay."""
        return graph

    def device_memory(self) -> DeviceMemory | None:
        """The graph's initializers; the session's arena does not tell what else it holds."""
        if self._queue is None:
            return None
        from deploy.graph import weights

        return DeviceMemory(weights=weights.initializer_bytes(self.artifact.path), activations=None)

    def nodes(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[NodeTime]:
        """Every node that ran, from the profile of a session of its own on the same provider."""
        with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
            profiled = session.open_session(
                self.artifact.file(graph_facts.MODEL), self.device, self.threads, profile=Path(folder) / "ort"
            )
            for feed in feeds:
                profiled.run(self._names, dict(feed))
            return _profile.read(Path(profiled.end_profiling()))

    def provenance(self) -> dict[str, str]:
        """Provider, precision and version that really run."""
        installed = environment.onnxruntime_distribution() or "onnxruntime"
        facts = {
            "provider": self._session.get_providers()[0],
            "precision": self._facts.precision,
            "threads": str(self._session.get_session_options().intra_op_num_threads),
            installed: environment.version(installed) or "unknown",
        }
        return facts if self._queue is None else {**facts, "graph": "on" if self._graph else "off"}
