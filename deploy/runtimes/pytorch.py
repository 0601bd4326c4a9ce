"""PyTorch, eager or compiled, in FP32 or BF16: the reference that every other runtime is held to."""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
import torch

from compress import catalog, environment
from compress.errors import UserError
from compress.model import checkpoint
from deploy.graph import facts as graph_facts
from deploy.runtimes import Runner as Base
from deploy.runtimes import TensorSpec

_CHOICES = {"mode": ("eager", "compiled"), "precision": ("fp32", "bf16")}


class Runner(Base):
    """A torch artifact in PyTorch.

    Options:
        mode: ``eager`` (default) or ``compiled`` (``torch.compile`` with dynamic shapes).
        precision: ``fp32`` (default) or ``bf16`` (weights and arithmetic).
    """

    ACCEPTS = frozenset({"torch"})
    CONCURRENT = True

    @classmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """Why PyTorch cannot run on that device here."""
        try:
            environment.resolve_device(device)
        except UserError as reason:
            return str(reason)
        return None

    def configure(self, *, mode: str = "eager", precision: str = "fp32", **options: Any) -> None:
        """Take mode and precision.

        Raises:
            UserError: a value that is none of the choices.
        """
        super().configure(**options)
        for name, value in (("mode", mode), ("precision", precision)):
            if value not in _CHOICES[name]:
                raise UserError(
                    f"runtime 'pytorch' has no {name} '{value}'. Allowed: {', '.join(_CHOICES[name])}."
                )
        self._mode, self._precision = mode, precision

    def open(self) -> None:
        """Load the model and fix the number of threads.

        Raises:
            UserError: the mode cannot work here.
        """
        if self._mode == "compiled" and self.device == "cpu" and not _compiler():
            raise UserError(
                "mode 'compiled' needs a C++ compiler on CPUs (g++, clang++ or $CXX): install one, or use "
                "mode 'eager'"
            )
        task = catalog.load("task", self.artifact.task)
        config = checkpoint.read_config(self.artifact.path)
        spec = task.export_spec(config, task.load_processor(self.artifact.path), task.head_of(config))
        self._device = environment.resolve_device(self.device)
        # The number of threads belongs to the process in PyTorch; it is put back on close.
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self.threads or environment.cpu_count())
        model = checkpoint.load(self.artifact.path, task)
        if self._precision == "bf16":
            model = model.to(torch.bfloat16)
        model = model.to(self._device).eval()
        self._model: Any = torch.compile(model, dynamic=True) if self._mode == "compiled" else model
        limits = graph_facts.limits(config, spec)
        self._inputs = tuple(
            _input(name, axes, config, limits.get(name, {})) for name, axes in spec.inputs.items()
        )
        self._outputs = tuple(
            TensorSpec(name, "float32", (None,) * (max(axes, default=0) + 2))
            for name, axes in spec.outputs.items()
        )
        self._names = tuple(spec.outputs)

    def close(self) -> None:
        """Let go of the model and put the number of threads back."""
        self._model = None
        torch.set_num_threads(self._threads_before)

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
        with torch.inference_mode():
            arrays = {name: self._tensor(array) for name, array in feed.items()}
            found = self._model(**arrays, return_dict=True)
            return {name: found[name].float().cpu().numpy() for name in self._names}

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array).to(self._device)
        lower = self._precision == "bf16" and tensor.is_floating_point()
        return tensor.to(torch.bfloat16) if lower else tensor

    def sync(self) -> None:
        """Wait for the device's queue."""
        environment.synchronize(self._device)

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


def _compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` would call."""
    names = (os.environ.get("CXX"), "g++", "clang++")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _input(name: str, axes: dict[int, str], config: dict[str, Any], limits: dict[int, int]) -> TensorSpec:
    """One input's type and shape: ids and masks are integers with free axes, images are fixed."""
    bound = tuple(sorted(limits.items()))
    if name == "pixel_values":
        size = config["image_size"]
        height, width = size if isinstance(size, list | tuple) else (size, size)
        fixed: list[int | None] = [None, int(config.get("num_channels", 3)), int(height), int(width)]
        shape = tuple(None if axis in axes else one for axis, one in enumerate(fixed))
        return TensorSpec(name, "float32", shape, bound)
    return TensorSpec(name, "int64", (None,) * len(axes), bound)
