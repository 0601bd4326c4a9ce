"""``torch.compile`` over SDPA: by default, and with ``reduce-overhead``, which records CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from studies.gpu.backends import _torch


def missing(device: str, precision: str) -> str | None:
    """Why it cannot run here."""
    if precision == "int8":
        return "torch has no INT8 kernels for this model on a GPU"
    if device == "cuda":
        from importlib.util import find_spec

        if find_spec("triton") is None:
            return "torch.compile needs Triton on a GPU, and it is not installed"
    return _torch.missing(device)


class Opened(_torch.Opened):
    """One compiled function a way of launching; every shape is compiled for itself."""

    attention = "sdpa"

    def callable(self, graph: bool) -> Callable[..., Any]:
        """A fresh compilation: static shapes, nothing shared between shapes."""
        torch.compiler.reset()
        mode = "reduce-overhead" if graph else "default"
        compiled: Callable[..., Any] = torch.compile(self.model, mode=mode, dynamic=False)
        if not graph:
            return compiled

        def one(**inputs: Any) -> Any:
            # The last result is read before the next run, and may be overwritten by it.
            torch.compiler.cudagraph_mark_step_begin()
            return compiled(**inputs)

        return one

    def captures(self, graph: bool) -> bool:
        """The compiler does, where it is asked to."""
        return False
