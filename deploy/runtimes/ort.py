"""ONNX Runtime, on the CPU or CUDA provider: the one that was asked for, or a refusal."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress import environment
from compress.errors import UserError
from deploy import profile, session
from deploy.graph import facts as graph_facts
from deploy.graph.facts import GraphFacts
from deploy.runtimes import NodeTime, TensorSpec
from deploy.runtimes import Runner as Base

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


def refusal(facts: GraphFacts, device: str) -> str | None:
    """Why a graph cannot run on a device, as a sentence; None if it can."""
    cuda = device.startswith("cuda")
    if facts.precision == "int8" and cuda:
        return (
            "ONNX Runtime's CUDA provider has no INT8 kernels (an INT8 graph runs slower there than "
            "FP32): run it with --device cpu, or make an FP16 graph with quantize --precision fp16"
        )
    if facts.precision == "bf16" and not cuda:
        return (
            "ONNX Runtime's CPU provider has no BF16 kernels: run this graph on a CUDA device, or make "
            "an INT8 or FP16 graph for the CPU"
        )
    return None


def _spec(argument: Any, limits: dict[int, int]) -> TensorSpec:
    return TensorSpec(
        name=argument.name,
        dtype=_DTYPES.get(argument.type, argument.type),
        shape=tuple(size if isinstance(size, int) else None for size in argument.shape),
        limits=tuple(sorted(limits.items())),
    )


class Runner(Base):
    """An ONNX artifact in an ONNX Runtime session."""

    ACCEPTS = frozenset({"onnx"})
    CONCURRENT = True

    @classmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """Why ONNX Runtime cannot run on that device here."""
        installed = environment.onnxruntime_distribution()
        if installed is None:
            return "ONNX Runtime is not installed: run pip install 'paredown[cpu]'"
        wanted = session.provider(device)
        if wanted in session.onnxruntime().get_available_providers():
            return None
        return (
            f"'{device}' was asked for and {installed} {environment.version(installed)} has no {wanted}: "
            "run pip uninstall onnxruntime && pip install 'paredown[gpu]', or use --device cpu"
        )

    def open(self) -> None:
        """Open the session and read its inputs and outputs.

        Raises:
            UserError: this graph cannot run on that device.
        """
        facts = graph_facts.read(self.artifact)
        reason = refusal(facts, self.device)
        if reason:
            raise UserError(f"{self.artifact.path}: {reason}")
        self._facts = facts
        self._session = session.open_session(self.artifact.file(graph_facts.MODEL), self.device, self.threads)
        self._inputs = tuple(_spec(one, facts.limits.get(one.name, {})) for one in self._session.get_inputs())
        self._outputs = tuple(_spec(one, {}) for one in self._session.get_outputs())
        self._names = [one.name for one in self._outputs]

    def close(self) -> None:
        """Let go of the session."""
        self._session = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs with their limits."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._outputs

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on the CPU directly, on a device through IO binding."""
        if self.device == "cpu":
            return dict(zip(self._names, self._session.run(self._names, feed), strict=True))
        binding = self._session.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, array)
        for name in self._names:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        return dict(zip(self._names, binding.copy_outputs_to_cpu(), strict=True))

    def nodes(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[NodeTime]:
        """Every node that ran, from the profile of a session of its own on the same provider."""
        with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
            profiled = session.open_session(
                self.artifact.file(graph_facts.MODEL), self.device, self.threads, profile=Path(folder) / "ort"
            )
            for feed in feeds:
                profiled.run(self._names, dict(feed))
            return profile.read(Path(profiled.end_profiling()))

    def provenance(self) -> dict[str, str]:
        """Provider, precision and version that really run."""
        installed = environment.onnxruntime_distribution() or "onnxruntime"
        return {
            "provider": self._session.get_providers()[0],
            "precision": self._facts.precision,
            "threads": str(self._session.get_session_options().intra_op_num_threads),
            installed: environment.version(installed) or "unknown",
        }
