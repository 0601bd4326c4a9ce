"""Torch model to ONNX file: both exporters of ``torch.onnx``, with their sharp edges fenced here.

The TorchScript path with eager attention is the default: it gives plain operators that ONNX Runtime's
fusions, quantizers and TensorRT know. It warns that it will go; the dynamo path is the way out.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from compress import fence, log
from compress.errors import ModelError, first_line

if TYPE_CHECKING:
    from compress.tasks import ExportSpec
    from deploy.checking.parity import Infer

Exporter = Literal["torchscript", "dynamo"]


class NamedOutputs(torch.nn.Module):
    """A transformers model as a function from positional inputs to a tuple of named outputs."""

    def __init__(self, model: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Remember the names; the model is shared, not copied."""
        super().__init__()
        self.model = model
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The named outputs, in order."""
        outputs = self.model(**dict(zip(self.inputs, arrays, strict=True)), return_dict=True)
        return tuple(outputs[name] for name in self.outputs)


def infer_with(wrapped: NamedOutputs) -> Infer:
    """A function from feed to named outputs, in PyTorch on the CPU.

    It raises ``ModelError`` where the model does not run.
    """
    kind = type(wrapped.model).__name__

    def refusal(cause: Exception) -> ModelError:
        log.detail("what the %s said: %s", kind, cause)
        return ModelError(f"this {kind} does not run in PyTorch ({first_line(cause)}): take another model")

    def infer(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        arrays = [torch.from_numpy(np.ascontiguousarray(feed[name])) for name in wrapped.inputs]
        with fence.running(refusal), torch.inference_mode():
            tensors = wrapped(*arrays)
        return {name: tensor.numpy() for name, tensor in zip(wrapped.outputs, tensors, strict=True)}

    return infer


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back what both exporters say about themselves; parity is what tells whether it matters.

    - TorchScript: TracerWarning where a model reads a shape in Python, the notices that the path is
      deprecated, "constant folding" notes, and the whole intermediate graph of a model that it cannot
      translate (from C++, past Python's streams).
    - dynamo: lines about torchvision operators that are not installed, about symbols without a source, and
      the whole intermediate graph of a model that it cannot follow; ``--verbose`` shows them.
    """
    names = ("torch.onnx", "torch.fx", "torch.export", "torch._dynamo", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=torch.jit.TracerWarning)
        warnings.simplefilter("ignore", category=DeprecationWarning)
        warnings.simplefilter("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.(onnx|jit|export|_dynamo)")
        warnings.filterwarnings("ignore", message=".*(legacy TorchScript|constant folding|axis name).*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            with _streams_held_back():
                yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextlib.contextmanager
def _streams_held_back() -> Iterator[None]:
    """Keep what is printed, by Python or by libraries, from the terminal; ``--verbose`` shows it."""
    process = ctypes.CDLL(None)  # C keeps a buffer of its own for stdout
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as printed:
        copies = {}
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        process.fflush(None)
        for number in (1, 2):
            with contextlib.suppress(OSError):  # a closed one shows nothing
                copies[number] = os.dup(number)
                os.dup2(printed.fileno(), number)
        try:
            with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
                yield
        finally:
            process.fflush(None)
            printed.flush()
            for number, copy in copies.items():
                os.dup2(copy, number)
                os.close(copy)
            printed.seek(0)
            if text := printed.read().strip():
                log.detail("what the exporter printed: %s", text)


def reason_of(cause: Exception) -> str:
    """Why an exporter refused, on one line of bearable length.

    The TorchScript exporter says it last. The dynamo exporter says what to do about it first and last, and
    the reason behind the class of what was raised.
    """
    lines = [" ".join(line.split()) for line in str(cause).splitlines() if line.strip()]
    raised = [line.partition(">: ")[2] for line in lines if line.startswith("<class '")]
    chosen = next((line for line in raised if line), lines[-1] if lines else type(cause).__name__)
    return chosen.rstrip(".:")[:300]


def export(
    wrapped: NamedOutputs,
    sample: Mapping[str, np.ndarray],
    spec: ExportSpec,
    path: Path,
    *,
    exporter: Exporter,
    opset: int,
) -> None:
    """Write a model as ONNX; weights of a graph above 2 GB land in files beside it.

    Args:
        wrapped: the model, in evaluation mode on the CPU.
        sample: arrays to trace with, one for every input of ``spec``.
        spec: names and free axes.
        path: of the file; its folder should be empty.
        exporter: which of the two.
        opset: of the default domain.

    Raises:
        ModelError: the model cannot be exported this way.
    """
    arrays = tuple(torch.from_numpy(np.ascontiguousarray(sample[name])) for name in spec.inputs)
    shared: dict[str, Any] = {
        "input_names": list(spec.inputs),
        "output_names": list(spec.outputs),
        "opset_version": opset,
    }

    def refusal(cause: Exception) -> ModelError:
        rival = "dynamo" if exporter == "torchscript" else "torchscript"
        log.detail("what the %s exporter said: %s", exporter, cause)
        return ModelError(
            f"{type(wrapped.model).__name__} cannot be exported by the {exporter} exporter at opset "
            f"{opset}: {reason_of(cause)}. Try exporter: {rival}; what both refuse has no ONNX form in this "
            "PyTorch."
        )

    with fence.running(refusal), _quiet_exporter(), torch.no_grad():
        if exporter == "torchscript":
            axes = {name: dict(free) for name, free in {**spec.inputs, **spec.outputs}.items()}
            torch.onnx.export(wrapped, arrays, str(path), dynamo=False, dynamic_axes=axes, **shared)
        else:
            torch.onnx.export(
                wrapped,
                arrays,
                str(path),
                dynamo=True,
                dynamic_shapes=(tuple(dict(free) for free in spec.inputs.values()),),
                external_data=False,
                verbose=False,
                **shared,
            )
