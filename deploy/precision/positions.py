"""What a graph computes from integers alone: positions, their angles and buckets, masks.

A half counts to 2,048 (BF16 to 256) and then leaves integers out; the angle of position 500 is off by
0.25 in FP16. PyTorch computes rotary angles and relative buckets in FP32 in a model of halves as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import TensorProto

from deploy.graph.nodes import Index

_INTEGERS = frozenset(
    {TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8, TensorProto.BOOL}
)
# They give a constant another shape; what they make of constants alone is one still.
_SHAPING = frozenset(
    {"Concat", "ConstantOfShape", "Expand", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose"}
    | {"Unsqueeze"}
)
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})


def from_integers(model: onnx.ModelProto, types: Mapping[str, int]) -> set[str]:
    """Names of the nodes that compute FP32 from integers and no weights, or read it, and of what they take.

    Args:
        model: a graph in topological order, with named nodes.
        types: the element type of every tensor.
    """
    index = Index(model)
    fixed = set(index.constants)
    shaping: list[onnx.NodeProto] = []
    counted: set[str] = set()
    names: set[str] = set()
    for node in model.graph.node:
        results = {name for name in node.output if types.get(name) == TensorProto.FLOAT}
        floats = {name for name in node.input if types.get(name) == TensorProto.FLOAT}
        if node.op_type == "Constant" or not results | floats:
            continue
        if node.op_type in _SHAPING and results and floats <= fixed:
            fixed |= results
            shaping.append(node)
        elif _is_cast(node, types) or (
            floats & counted and floats <= counted | fixed and not _is_weighted(node, index)
        ):
            counted |= results
            names.add(node.name)
    # The frequencies on their way to a product with positions are as exact as those.
    for node in reversed(shaping):
        if any(taker.name in names for name in node.output for taker in index.takers[name]):
            names.add(node.name)
    return names


def _is_cast(node: onnx.NodeProto, types: Mapping[str, int]) -> bool:
    return node.op_type == "Cast" and types.get(node.input[0]) in _INTEGERS


def _is_weighted(node: onnx.NodeProto, index: Index) -> bool:
    """Whether a product has a constant matrix; the frequencies of a rotary embedding are a vector."""
    return node.op_type in _PRODUCTS and any(
        sum(size > 1 for size in index.shape(name)) > 1 for name in node.input if name in index.constants
    )
