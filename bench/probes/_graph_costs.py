"""What an ONNX graph costs: multiply-accumulates at a given feed, and stored numbers.

The sizes of the products come from one run of the graph with ``Shape`` nodes put on their inputs: static
shape inference loses the batch size of exported transformers at their reshapes. Element-wise work,
softmax and norms are not multiply-accumulates and are not counted, as in PyTorch's own counter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compress.environment import require
from deploy import session

Shape = tuple[int, ...]
_PROBE = "__paredown_shape__"


def matmul(a: Shape, b: Shape, transposed: bool = False) -> int:
    """Multiply-accumulates of ``a @ b`` with broadcast batch axes; ``transposed``: of ``a @ b.T``."""
    rows, inner = (a[-2] if len(a) > 1 else 1), a[-1]
    columns = (b[-2] if transposed else b[-1]) if len(b) > 1 else 1
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return math.prod(batch) * rows * inner * columns


def gemm(a: Shape, b: Shape, trans_a: bool, trans_b: bool) -> int:
    """Multiply-accumulates of a Gemm of two matrices."""
    rows, inner = (a[1], a[0]) if trans_a else a
    return rows * inner * (b[0] if trans_b else b[1])


def convolution(weight: Shape, out: Shape) -> int:
    """Multiply-accumulates of a convolution: each output takes one kernel over its group's channels."""
    return math.prod(out) * math.prod(weight[1:])


def attention(query: Shape, key: Shape, value: Shape) -> int:
    """Multiply-accumulates of scores and weighted sum.

    Args:
        query: [batch, length, width] or [batch, heads, length, size]; the others likewise.
        key: of the positions that are looked at.
        value: of the same positions.
    """
    pairs = math.prod(query[:-1]) * key[-2]
    return pairs * (query[-1] + value[-1])


def fused_attention(x: Shape, weight: Shape, sizes: Sequence[int] | None) -> int:
    """Multiply-accumulates of a fused Attention: the joint projection, scores and weighted sum.

    Args:
        x: [batch, length, width].
        weight: [width, query + key + value].
        sizes: of query, key and value; thirds when None.
    """
    query, _, value = sizes or (weight[1] // 3,) * 3
    batch, length, _ = x
    return matmul(x, weight) + batch * length * length * (query + value)


def einsum(equation: str, shapes: Sequence[Shape]) -> int:
    """Multiply-accumulates of an Einsum of two operands: the product of all index sizes."""
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").split("->")[0].split(","), shapes, strict=True):
        sizes.update(zip(term, shape, strict=True))
    return math.prod(sizes.values())


@dataclass(frozen=True)
class _Product:
    """How to count an operator: which inputs' shapes it needs (``-1``: its output's) and the formula."""

    looks_at: tuple[int, ...]
    count: Callable[[dict[str, Any], list[Shape]], int]


def _plain(_attributes: dict[str, Any], shapes: list[Shape]) -> int:
    return matmul(shapes[0], shapes[1])


def _fused(attributes: dict[str, Any], shapes: list[Shape]) -> int:
    a, b = shapes
    if attributes.get("transA", 0):
        a = (*a[:-2], a[-1], a[-2])
    return matmul(a, b, transposed=bool(attributes.get("transB", 0)))


def _gemm(attributes: dict[str, Any], shapes: list[Shape]) -> int:
    return gemm(shapes[0], shapes[1], bool(attributes.get("transA", 0)), bool(attributes.get("transB", 0)))


def _convolution(_attributes: dict[str, Any], shapes: list[Shape]) -> int:
    return convolution(shapes[0], shapes[1])


def _attention(_attributes: dict[str, Any], shapes: list[Shape]) -> int:
    return attention(*shapes)


def _fused_attention(attributes: dict[str, Any], shapes: list[Shape]) -> int:
    return fused_attention(shapes[0], shapes[1], attributes.get("qkv_hidden_sizes"))


def _einsum(attributes: dict[str, Any], shapes: list[Shape]) -> int:
    return einsum(attributes["equation"].decode(), shapes)


_PRODUCTS: dict[tuple[str, str], _Product] = {
    ("", "MatMul"): _Product((0, 1), _plain),
    ("", "MatMulInteger"): _Product((0, 1), _plain),
    ("", "QLinearMatMul"): _Product((0, 3), _plain),
    ("", "Gemm"): _Product((0, 1), _gemm),
    ("", "Conv"): _Product((1, -1), _convolution),
    ("", "ConvInteger"): _Product((1, -1), _convolution),
    ("", "QLinearConv"): _Product((3, -1), _convolution),
    ("", "Einsum"): _Product((0, 1), _einsum),
    ("", "Attention"): _Product((0, 1, 2), _attention),
    ("com.microsoft", "FusedMatMul"): _Product((0, 1), _fused),
    ("com.microsoft", "DynamicQuantizeMatMul"): _Product((0, 1), _plain),
    ("com.microsoft", "MatMulIntegerToFloat"): _Product((0, 1), _plain),
    ("com.microsoft", "QGemm"): _Product((0, 3), _gemm),
    ("com.microsoft", "FusedConv"): _Product((1, -1), _convolution),
    ("com.microsoft", "Attention"): _Product((0, 1), _fused_attention),
    ("com.microsoft", "MultiHeadAttention"): _Product((0, 1, 2), _attention),
}
# Operators with products inside that are not counted; a graph that has them says so.
_OPAQUE = frozenset(
    {
        "LSTM",
        "GRU",
        "RNN",
        "Loop",
        "Scan",
        "If",
        "ConvTranspose",
        "MatMulNBits",
        "QAttention",
        "GroupQueryAttention",
    }
)


# Inputs that say how numbers are quantized: scales and zero points.
_SETTINGS: dict[str, tuple[int, ...]] = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "MatMulInteger": (2, 3),
    "ConvInteger": (2, 3),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QGemm": (1, 2, 4, 5, 7, 8),
}


@dataclass(frozen=True)
class Costs:
    """What a graph costs.

    Attributes:
        macs: multiply-accumulates of one run.
        parameters: stored numbers, quantization scales and zero points apart.
        uncounted: operators with products inside that the count leaves out.
    """

    macs: int
    parameters: int
    uncounted: tuple[str, ...]


def _key(node: Any) -> tuple[str, str]:
    return ("" if node.domain == "ai.onnx" else node.domain), node.op_type


def measure(file: Path, feed: Mapping[str, np.ndarray]) -> Costs:
    """Count a graph at one feed, by one run on the CPU.

    Args:
        file: ``model.onnx``, with its external data beside it.
        feed: a feed of the shape that is to be counted.
    """
    onnx = require("onnx")
    model = onnx.load(str(file), load_external_data=False)
    parameters = count_parameters(model)
    nodes = [node for node in model.graph.node if _key(node) in _PRODUCTS]
    outputs: dict[str, str] = {}
    for node in nodes:
        for index in _PRODUCTS[_key(node)].looks_at:
            name = node.output[0] if index < 0 else node.input[index]
            outputs.setdefault(name, f"{_PROBE}{len(outputs)}")
    del model.graph.output[:]
    for name, output in outputs.items():
        model.graph.node.append(onnx.helper.make_node("Shape", [name], [output]))
        model.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.INT64, [None]))
    shapes = _run(model.SerializeToString(), file.parent, feed, outputs) if outputs else {}
    total = 0
    for node in nodes:
        product = _PRODUCTS[_key(node)]
        operand_shapes = [
            shapes[node.output[0] if index < 0 else node.input[index]] for index in product.looks_at
        ]
        attributes = {
            attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
        }
        total += product.count(attributes, operand_shapes)
    uncounted = sorted({node.op_type for node in model.graph.node} & _OPAQUE)
    return Costs(macs=total, parameters=parameters, uncounted=tuple(uncounted))


def _run(
    content: bytes, folder: Path, feed: Mapping[str, np.ndarray], outputs: Mapping[str, str]
) -> dict[str, Shape]:
    ort = session.onnxruntime()
    chosen = session.options(1)
    chosen.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    chosen.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    opened = ort.InferenceSession(content, sess_options=chosen, providers=["CPUExecutionProvider"])
    arrays = opened.run(list(outputs.values()), dict(feed))
    return {name: tuple(int(size) for size in shape) for name, shape in zip(outputs, arrays, strict=True)}


def count_parameters(model: Any) -> int:
    """Numbers that a graph stores: floating-point, 8-bit and dequantized 32-bit initializers.

    Scales and zero points are no parameters; 64-bit integers are shapes and indices; a number without
    an axis is a constant of the arithmetic.
    """
    kinds = require("onnx").TensorProto
    numbers = {kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE}
    numbers |= {kinds.INT8, kinds.UINT8, kinds.FLOAT8E4M3FN}
    ends = ("_scale", "_zero_point", "_scale_merged")
    settings: set[str] = set()
    dequantized: set[str] = set()
    packed: dict[str, int] = {}
    for node in model.graph.node:
        settings.update(node.input[i] for i in _SETTINGS.get(node.op_type, ()) if i < len(node.input))
        if node.op_type == "DequantizeLinear":
            dequantized.add(node.input[0])
        if node.op_type == "GatherPacked":  # bytes of blocks; the width is the operator's
            packed[node.input[0]] = next(entry.i for entry in node.attribute if entry.name == "K")
    total = 0
    for initializer in model.graph.initializer:
        if initializer.name in settings or initializer.name.endswith(ends) or not initializer.dims:
            continue
        if initializer.name in packed:
            total += initializer.dims[0] * packed[initializer.name]
        elif initializer.data_type in numbers or (
            initializer.data_type == kinds.INT32 and initializer.name in dequantized
        ):
            total += math.prod(initializer.dims)
    return total
