"""What a graph asks an engine to compute in: the precision of every weight product, and its attention."""

from __future__ import annotations

from typing import Literal

import onnx
from onnx import TensorProto

from deploy.graph import nodes as graph
from deploy.precision import half

_TYPES = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
}
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
# What stands between a constant and the product that takes it.
_CARRIERS = frozenset({"DequantizeLinear", "QuantizeLinear", "Cast", "Transpose", "Identity", "Reshape"})


def of_products(model: onnx.ModelProto) -> dict[str, str]:
    """Name of every weight product -> the precision that the graph's types give it.

    A product is INT8 or FP8 where both sides come from a DequantizeLinear of that type.
    """
    index = graph.Index(model)
    types = half.element_types(model)
    precisions: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type not in _PRODUCTS or not _is_constant(node.input[1], index):
            continue
        sides = [_dequantized(name, index, types) for name in node.input[:2]]
        quantized = sides[0] if sides[0] is not None and sides[0] == sides[1] else None
        precisions[node.name] = _TYPES.get(quantized or types.get(node.input[0], 0), "other")
    return precisions


def _is_constant(name: str, index: graph.Index) -> bool:
    while name not in index.constants:
        maker = index.maker.get(name)
        if maker is None or maker.op_type not in _CARRIERS:
            return False
        name = maker.input[0]
    return True


def _dequantized(name: str, index: graph.Index, types: dict[str, int]) -> int | None:
    """The quantized type behind a tensor, or None; Casts and transposes between are looked through."""
    while (maker := index.maker.get(name)) is not None:
        if maker.op_type == "DequantizeLinear":
            return types.get(maker.input[0])
        if maker.op_type not in ("Cast", "Transpose", "Identity"):
            return None
        name = maker.input[0]
    return None


def floats(model: onnx.ModelProto) -> Literal["fp32", "fp16", "bf16"]:
    """The type of a graph's floating products: half where any constant is a half."""
    types = {tensor.data_type for tensor in graph.Index(model).constants.values()}
    if TensorProto.FLOAT16 in types:
        return "fp16"
    return "bf16" if TensorProto.BFLOAT16 in types else "fp32"


def attention_blocks(model: onnx.ModelProto) -> int:
    """How many attention blocks there are: a Softmax that goes into a product of two computed sides."""
    index = graph.Index(model)
    count = 0
    for node in model.graph.node:
        if node.op_type == "Attention":
            count += 1
        elif node.op_type == "Softmax":
            count += any(_is_mixed(taker, index) for taker in _takers(node.output[0], index))
    return count


def _takers(name: str, index: graph.Index) -> list[onnx.NodeProto]:
    """Who takes a tensor, behind Casts and Q/DQ pairs."""
    nodes: list[onnx.NodeProto] = []
    for node in index.takers.get(name, []):
        if node.op_type in ("Cast", "QuantizeLinear", "DequantizeLinear", "Dropout", "Where", "Identity"):
            nodes += _takers(node.output[0], index)
        else:
            nodes.append(node)
    return nodes


def _is_mixed(node: onnx.NodeProto, index: graph.Index) -> bool:
    return node.op_type == "MatMul" and not any(_is_constant(name, index) for name in node.input)
