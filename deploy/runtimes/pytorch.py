"""PyTorch: the reference that every other runtime is held to, and its own fast ways on a GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from compress import catalog, environment
from compress.errors import UserError
from compress.model import checkpoint, sample
from compress.tasks import Link
from deploy.device import Device, Stream, Tensors
from deploy.graph import facts as graph_facts
from deploy.runtimes import DeviceMemory, TensorSpec
from deploy.runtimes._queue import Queue, Shapes, Work
from deploy.runtimes._queued import Queued

_CHOICES = {
    "mode": ("eager", "compiled", "graph"),
    "precision": ("fp32", "tf32", "bf16", "fp16"),
    "attention": ("sdpa", "eager"),
}
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Runner(Queued):
    """A torch artifact in PyTorch.

    Options:
        mode: ``eager`` (default), ``compiled`` (``torch.compile`` with dynamic shapes) or ``graph`` (a CUDA
            graph a shape).
        precision: ``fp32`` (default), ``tf32`` (FP32 weights, products in TF32), ``bf16`` or ``fp16``
            (weights and arithmetic).
        attention: ``sdpa`` or ``eager``; by default ``sdpa`` where the model's class has it.
    """

    ACCEPTS = frozenset({"torch"})
    _gpu: Device | None = None

    @classmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """Why PyTorch cannot run on that device here."""
        try:
            environment.resolve_device(device)
        except UserError as reason:
            return str(reason)
        return None

    def configure(
        self, *, mode: str = "eager", precision: str = "fp32", attention: str | None = None, **options: Any
    ) -> None:
        """Take mode, precision and attention.

        Raises:
            UserError: a value that is none of the choices.
        """
        super().configure(**options)
        for name, value in (("mode", mode), ("precision", precision), ("attention", attention)):
            if value is not None and value not in _CHOICES[name]:
                raise UserError(
                    f"runtime 'pytorch' has no {name} '{value}'. Allowed: {', '.join(_CHOICES[name])}."
                )
        self._mode, self._precision, self._attention = mode, precision, attention
        self._graph = mode == "graph"

    def open(self) -> None:
        """Load the model and fix what belongs to the process: threads, and how FP32 is multiplied.

        Raises:
            UserError: mode, precision or attention cannot work here.
        """
        self._device = environment.resolve_device(self.device)
        reason = refusal(self._mode, self._precision, self._device)
        if reason:
            raise UserError(reason)
        task = catalog.task(self.artifact.task)
        config = checkpoint.read_config(self.artifact.path)
        processor = task.load_processor(self.artifact.path)
        head = task.head_of(config)
        spec = task.export_spec(config, processor, head)
        self._row = sample.batch(task, processor, head, sample.rows(task)[:1]).inputs
        # Both belong to the process in PyTorch; they are put back on close.
        self._before = (torch.get_num_threads(), torch.get_float32_matmul_precision())
        torch.set_num_threads(self.threads or environment.cpu_count())
        torch.set_float32_matmul_precision("high" if self._precision == "tf32" else "highest")
        try:
            self._load(task, config, spec, task.link(head))
        except BaseException:
            self.close()
            raise

    def _load(self, task: Any, config: dict[str, Any], spec: Any, links: Mapping[str, Link]) -> None:
        model = checkpoint.load(self.artifact.path, task, attention=self._attention or "sdpa")
        kind = str(getattr(model.config, "_attn_implementation", None))
        if self._attention not in (None, kind):
            raise UserError(
                f"attention '{self._attention}' was asked for and {type(model).__name__} has only '{kind}': "
                f"use attention={kind}"
            )
        if self._precision in _HALF:
            model = model.to(_HALF[self._precision])
        self._gpu = None if self._device == "cpu" else Device(self._device)
        model = model.to("cpu" if self._gpu is None else self._gpu.where).eval()
        self._bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers())
        )
        self._model: Any = torch.compile(model, dynamic=True) if self._mode == "compiled" else model
        limits = graph_facts.limits(config, spec)
        self._inputs = tuple(
            _input(name, axes, self._row[name], limits.get(name, {})) for name, axes in spec.inputs.items()
        )
        self._outputs = tuple(
            TensorSpec(name, "float32", (None,) * (max(axes, default=0) + 1 + (links[name] != "positions")))
            for name, axes in spec.outputs.items()
        )
        self._names = tuple(spec.outputs)
        if self._gpu is not None:
            self._queue = Queue(self._gpu, partial(self._work, self._gpu))

    def close(self) -> None:
        """Let go of the model and put the process's settings back."""
        self.close_queue()
        self._model = None
        if self._gpu is not None:
            self._gpu.release()
        threads, matmul = self._before
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(matmul)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs with their limits."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The model's outputs."""
        return self._outputs

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run; floating inputs follow the precision, outputs come back as FP32."""
        if self._queue is not None:
            return self._queue.run(feed)
        arrays = {name: torch.from_numpy(array) for name, array in feed.items()}
        outputs = self._forward(
            {name: tensor.to(self._dtype(tensor.dtype)) for name, tensor in arrays.items()}
        )
        return {name: tensor.float().numpy() for name, tensor in outputs.items()}

    def _forward(self, arrays: Tensors) -> Tensors:
        with torch.inference_mode():
            outputs = self._model(**arrays, return_dict=True)
            return {name: outputs[name] for name in self._names}

    def _dtype(self, element_type: torch.dtype) -> torch.dtype:
        return _HALF.get(self._precision, element_type) if element_type.is_floating_point else element_type

    def _work(self, gpu: Device, shapes: Shapes, number: int, stream: Stream) -> Work:
        """Fixed input buffers, and the model on them: as it is, or recorded."""
        types = {port.name: getattr(torch, port.dtype) for port in self._inputs}
        buffers = {name: gpu.empty(shape, self._dtype(types[name])).zero_() for name, shape in shapes.items()}

        def launch() -> Tensors:
            return self._forward(buffers)

        replay = gpu.capture(stream, launch) if self._graph else None
        return Work(inputs=buffers, launch=launch, replay=replay)

    def device_memory(self) -> DeviceMemory | None:
        """Parameters and buffers; the peak beyond them, and what the allocator keeps."""
        memory = environment.device_memory_bytes(self._device)
        if memory is None:
            return None
        allocated, reserved = memory
        return DeviceMemory(
            weights=self._bytes, activations=max(0, allocated - self._bytes), reserved=reserved
        )

    def provenance(self) -> dict[str, str]:
        """Mode, precision, attention and version that really run."""
        inner = getattr(self._model, "_orig_mod", self._model)
        attention = getattr(inner.config, "_attn_implementation", None)
        return {
            "provider": f"torch {self._mode}",
            "precision": self._precision,
            "attention": str(attention),
            "threads": str(torch.get_num_threads()),
            "torch": torch.__version__,
        }


def refusal(mode: str, precision: str, device: str) -> str | None:
    """Why a mode or precision cannot work on a device, as a sentence; None if it can."""
    if device == "cpu":
        if mode == "compiled" and not _compiler():
            return (
                "mode 'compiled' needs a C++ compiler on CPUs (g++, clang++ or $CXX): install one, or use "
                "mode 'eager'"
            )
        if mode == "graph":
            return "mode 'graph' records a CUDA graph, and a CPU has none: use --device cuda, or mode 'eager'"
        if precision == "tf32":
            return "TF32 is a mode of NVIDIA's matrix units: use --device cuda, or precision 'fp32'"
        if precision == "fp16":
            return (
                "PyTorch has no fast FP16 arithmetic on CPUs: use --device cuda, precision 'bf16' or 'fp32', "
                "or an FP16 graph in runtime 'ort'"
            )
        return None
    if mode == "compiled" and importlib.util.find_spec("triton") is None:
        return "mode 'compiled' needs Triton on a GPU: pip install triton, or use mode 'graph'"
    if precision == "tf32" and environment.compute_capability(device) < (8, 0):
        return "TF32 needs compute capability 8.0 (Ampere) or later: use precision 'fp16' or 'fp32'"
    if precision == "bf16" and not environment.bf16_is_fast(device):
        return "this GPU multiplies no BF16 in hardware: use precision 'fp16'"
    return None


def _compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` would call."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def _input(name: str, axes: dict[int, str], row: np.ndarray, limits: dict[int, int]) -> TensorSpec:
    """One input's type and shape: those of an encoded row, free along the axes that have a name."""
    shape = tuple(None if axis in axes else size for axis, size in enumerate(row.shape))
    return TensorSpec(name, str(row.dtype), shape, tuple(sorted(limits.items())))
