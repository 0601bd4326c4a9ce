"""ONNX's reference evaluator as a function: every node in Python, rounded to its own type.

ONNX Runtime cannot check half precision on a CPU: its provider has no BF16, and computes FP16 graphs
in FP32 without rounding in between, so that an overflow would not show. The products are replaced:
numpy multiplies halves one by one, which is a hundred times slower than what GPUs do and what stands
here, multiply and add in FP32 and round once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from deploy.checking.parity import Infer


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array


class MatMul(OpRun):
    """The product with FP32 sums, rounded to the type of its left side."""

    def _run(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray]:
        return (np.matmul(_wide(a), _wide(b)).astype(a.dtype),)


class Gemm(OpRun):
    """The product and bias with FP32 sums, rounded to the type of its left side."""

    def _run(
        self,
        a: np.ndarray,
        b: np.ndarray,
        c: np.ndarray | None = None,
        alpha: float = 1.0,
        beta: float = 1.0,
        transA: int = 0,
        transB: int = 0,
    ) -> tuple[np.ndarray]:
        left, right = _wide(a.T if transA else a), _wide(b.T if transB else b)
        found = alpha * np.matmul(left, right)
        if c is not None:
            found = found + beta * _wide(c)
        return (found.astype(a.dtype),)


def reference_infer(graph: Path | Any) -> Infer:
    """A function from feed to named outputs.

    Args:
        graph: file, or model.
    """
    evaluator = ReferenceEvaluator(str(graph) if isinstance(graph, Path) else graph, new_ops=[MatMul, Gemm])
    names = list(evaluator.output_names)

    def infer(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            return dict(zip(names, evaluator.run(names, dict(feed)), strict=True))

    return infer
