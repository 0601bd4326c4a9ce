"""ONNX's reference evaluator as a function: every node in Python, rounded to its own type.

ONNX Runtime cannot check half precision on a CPU: its provider has no BF16, and computes FP16 graphs
in FP32 without rounding in between, so that an overflow would not show. The products are replaced:
numpy multiplies halves one by one, which is a hundred times slower than what GPUs do and what stands
here, multiply and add in FP32 and round once. Norms, softmax and convolutions are widened likewise. The
gather by element is replaced because its reference takes fewer shapes than the operator does, and
``DequantizeLinear`` because it has none before opset 19.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_conv import Conv
from onnx.reference.ops.op_dequantize_linear import DequantizeLinear_25
from onnx.reference.ops.op_layer_normalization import LayerNormalization
from onnx.reference.ops.op_softmax import Softmax

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
        product = alpha * np.matmul(left, right)
        if c is not None:
            product = product + beta * _wide(c)
        return (product.astype(a.dtype),)


def _widened(operator: type[OpRun]) -> type[OpRun]:
    """An operator that sums in FP32 and rounds its outputs once, to the type of its first input."""

    class Widened(operator):
        def _run(
            self, first: np.ndarray, *operands: np.ndarray | None, **attributes: Any
        ) -> tuple[np.ndarray, ...]:
            wide = [None if operand is None else _wide(operand) for operand in operands]
            results = super()._run(_wide(first), *wide, **attributes)
            return tuple(array.astype(first.dtype) for array in results)

    Widened.__name__ = operator.__name__  # the evaluator finds an operator by the name of its class
    return Widened


class GatherElements(OpRun):
    """Elements by index along one axis, where the other axes of the index may be shorter than the data's.

    ONNX allows it (PyTorch's ``gather`` does, and DeBERTa's relative positions use it for a batch of one);
    the reference evaluator refuses it, and every axis of more than 32 elements.
    """

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int = 0) -> tuple[np.ndarray]:
        axis %= data.ndim
        within = tuple(slice(None if d == axis else n) for d, n in enumerate(indices.shape))
        return (np.take_along_axis(data[within], indices, axis),)


class DequantizeLinear(DequantizeLinear_25):
    """Of every opset: what later ones say more is an attribute that has a default."""


_OPERATORS = [MatMul, Gemm, GatherElements, DequantizeLinear]
_OPERATORS += map(_widened, (Conv, LayerNormalization, Softmax))


def reference_infer(graph: Path | Any) -> Infer:
    """A function from feed to named outputs.

    Args:
        graph: file, or model.
    """
    source = str(graph) if isinstance(graph, Path) else graph
    evaluator = ReferenceEvaluator(source, new_ops=_OPERATORS)
    names = list(evaluator.output_names)

    def infer(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            return dict(zip(names, evaluator.run(names, dict(feed)), strict=True))

    return infer
