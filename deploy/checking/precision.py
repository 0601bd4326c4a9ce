"""Whether ``graph.json`` says what its graph is: precision, target and fusion, read from the nodes.

Runtimes, builders, cards and reports believe these facts without opening the graph: a graph whose INT8 is
called FP32 would be measured, named and handed over as what it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto

from deploy.checking.structure import RUNTIME, all_nodes
from deploy.checking.tensors import tensors

if TYPE_CHECKING:
    from deploy.graph.facts import GraphFacts

_HALVES = {TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
_FP8 = frozenset(
    {
        TensorProto.FLOAT8E4M3FN,
        TensorProto.FLOAT8E4M3FNUZ,
        TensorProto.FLOAT8E5M2,
        TensorProto.FLOAT8E5M2FNUZ,
    }
)
_SIGNED, _UNSIGNED = TensorProto.INT8, TensorProto.UINT8
_PAIRS = ("QuantizeLinear", "DequantizeLinear")
# Operators that exist for INT8 alone; their activations are unsigned.
_INTEGER = ("Integer", "QLinear", "DynamicQuantize")


def contradictions(model: onnx.ModelProto, facts: GraphFacts) -> list[str]:
    """Every fact that the graph contradicts, in words.

    Args:
        model: the graph, with or without its external data.
        facts: what ``graph.json`` says of it.
    """
    nodes = all_nodes(model)
    types = {tensor.name: tensor.data_type for tensor in tensors(model) if tensor.name}
    types |= {
        node.output[0]: attribute.t.data_type
        for node in nodes
        if node.op_type == "Constant" and node.output
        for attribute in node.attribute
        if attribute.name == "value"
    }
    float_precision = next((name for kind, name in _HALVES.items() if kind in types.values()), "fp32")
    eight = _eight_bits(nodes, types)
    precision = "fp8" if eight & _FP8 else "int8" if eight else float_precision
    target = "any" if not eight else "cpu" if _UNSIGNED in eight else "tensorrt"
    readings = {
        "precision": precision,
        "rest": float_precision,
        "target": target,
        "fused": any(node.domain == RUNTIME for node in nodes),
    }
    claims = facts.model_dump(include=set(readings))
    return [
        f"{name} is {str(claims[name]).lower()}, and the graph's is {str(value).lower()}"
        for name, value in readings.items()
        if claims[name] != value
    ]


def _eight_bits(nodes: Iterable[onnx.NodeProto], types: dict[str, int]) -> set[int]:
    """The types in which anything of a graph is quantized."""
    kinds: set[int] = set()
    for node in nodes:
        if any(part in node.op_type for part in _INTEGER):
            kinds.add(_UNSIGNED)
        elif node.op_type in _PAIRS:
            output_type = next(
                (
                    attribute.i
                    for attribute in node.attribute
                    if attribute.name == "output_dtype" and attribute.i
                ),
                None,
            )
            operands = (node.input[place] for place in (2, 0) if len(node.input) > place)
            operand_types = (types[name] for name in operands if name in types)
            # Without a zero point and an output type, what QuantizeLinear makes is unsigned.
            kind = output_type or next(operand_types, _UNSIGNED if node.op_type == "QuantizeLinear" else None)
            if kind is not None and (kind in _FP8 or kind in (_SIGNED, _UNSIGNED)):
                kinds.add(kind)
    return kinds
