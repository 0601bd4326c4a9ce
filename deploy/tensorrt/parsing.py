"""Why TensorRT does not take a graph: the node, its operator, what made it so, and what avoids it.

What is known to be refused is found in the graph itself, before TensorRT sees it, so that every
version gives the same sentence. What only the parser knows is told with the node that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from compress.errors import ModelError
from deploy.graph import nodes as graph
from deploy.precision import half

if TYPE_CHECKING:
    from deploy.tensorrt.binding import ParserProblem
    from deploy.tensorrt.capabilities import Capabilities

_QUANTIZE = "paredown quantize ONNX --precision int8 --mode static --target tensorrt"
# The parser of TensorRT 8.6 ends here (LayerNormalization is its newest operator).
FLAGS_OPSET = 17
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"})


@dataclass(frozen=True)
class Problem:
    """One thing in a graph that TensorRT does not take.

    Attributes:
        node: its name.
        operator: its type, with the domain where it is not ONNX's own.
        cause: what is wrong with it.
        remedy: what avoids it.
    """

    node: str
    operator: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.operator} '{self.node}': {self.cause}; {self.remedy}"


def problems(model: onnx.ModelProto, can: Capabilities) -> list[Problem]:
    """What TensorRT is known to refuse in a graph.

    Args:
        model: with its weights, or at least with its zero points.
        can: of the TensorRT that shall build it.
    """
    findings: list[Problem] = []
    version = graph.opset(model)
    if not can.strongly_typed and version > FLAGS_OPSET:
        quantized = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        remedy = (
            f"quantize it with {_QUANTIZE} --set opset={FLAGS_OPSET}"
            if quantized
            else f"export it with paredown export MODEL --opset {FLAGS_OPSET}"
        )
        cause = f"{can.name} reads opset {FLAGS_OPSET} and below"
        findings.append(Problem("the graph", f"opset {version}", cause, remedy))
    index = graph.Index(model)
    for node in model.graph.node:
        for look in _LOOKS:
            problem = look(node, index, can)
            if problem is not None:
                findings.append(problem)
                break
    return findings + _float_attention(model)


def _foreign(node: onnx.NodeProto, index: graph.Index, can: Capabilities) -> Problem | None:
    if node.domain in ("", "ai.onnx"):
        return None
    return Problem(
        node.name,
        f"{node.domain}.{node.op_type}",
        "an operator of ONNX Runtime's own, which optimize-onnx made",
        "build the graph that export-onnx made (export without --fuse)",
    )


def _dynamic(node: onnx.NodeProto, index: graph.Index, can: Capabilities) -> Problem | None:
    if node.op_type not in _DYNAMIC:
        return None
    return Problem(
        node.name,
        node.op_type,
        "INT8 with ranges taken at run time (quantize-onnx with mode dynamic)",
        f"TensorRT wants static ranges: {_QUANTIZE}",
    )


def _asymmetric(node: onnx.NodeProto, index: graph.Index, can: Capabilities) -> Problem | None:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3 or not node.input[2]:
        return None
    zero_point = index.constants.get(node.input[2])
    if zero_point is None:
        return Problem(
            node.name, node.op_type, "its zero point is no constant", f"quantize anew: {_QUANTIZE}"
        )
    if zero_point.data_type in (TensorProto.UINT8, TensorProto.UINT16):
        return Problem(
            node.name,
            node.op_type,
            "unsigned integers (quantize-onnx with target cpu)",
            f"TensorRT takes signed ones, symmetric around zero: {_QUANTIZE}",
        )
    if zero_point.data_type not in (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32):
        return None  # FP8 and FP4 have no zero point but zero
    points = numpy_helper.to_array(zero_point)
    if not np.any(points):
        return None
    return Problem(
        node.name,
        node.op_type,
        f"asymmetric: a zero point of {int(points.reshape(-1)[np.flatnonzero(points)[0]])}",
        f"TensorRT takes zero points of 0 alone: {_QUANTIZE}",
    )


def _float_attention(model: onnx.ModelProto) -> list[Problem]:
    nodes = [node for node in model.graph.node if node.op_type == "Attention"]
    types = half.element_types(model) if nodes else {}
    return [
        Problem(
            node.name,
            "Attention",
            "the one operator for attention (opset 23) has no FP32 kernel in TensorRT",
            "make the graph FP16 first (paredown quantize ONNX --precision fp16), or export with --opset 17 "
            "to 20, where attention is plain products",
        )
        for node in nodes
        if types.get(node.input[0]) == TensorProto.FLOAT
    ]


_Look = Callable[[onnx.NodeProto, graph.Index, "Capabilities"], Problem | None]
_LOOKS: tuple[_Look, ...] = (_foreign, _dynamic, _asymmetric)


def refuse(findings: Sequence[Problem], name: str) -> None:
    """Raise the sentence for some problems.

    Raises:
        ModelError: there are any; the first is told whole, the others are counted.
    """
    if not findings:
        return
    more = len(findings) - 1
    remainder = f" ({more} more node{'s' if more > 1 else ''} like it or with other problems)" if more else ""
    raise ModelError(f"{name} does not take this graph. {findings[0]}{remainder}")


def explain(errors: Sequence[ParserProblem], model: onnx.ModelProto, name: str) -> str:
    """The sentence for what the parser refused.

    Args:
        errors: the parser's errors.
        model: the graph; its nodes are looked up where the parser gives numbers alone.
        name: of the TensorRT.
    """
    if not errors:
        return f"{name} does not take this graph and gives no reason; --verbose shows all that it says"
    first = errors[0]
    node, operator = first.name, first.operator
    if not operator and 0 <= first.node < len(model.graph.node):
        graph_node = model.graph.node[first.node]
        node, operator = graph_node.name, graph_node.op_type
    place = f"{operator} '{node}'" if operator else "the graph"
    text = first.text.strip()
    reason = f"'{text}'" if text not in ("", "false") else "the operator is not supported"
    more = f" ({len(errors) - 1} more errors)" if len(errors) > 1 else ""
    return f"{name} does not take {place}: {reason}{more}; {_remedy(text, operator)}"


def _remedy(text: str, operator: str) -> str:
    low = text.lower()
    if "zero point" in low:
        return f"quantize symmetrically: {_QUANTIZE}"
    if "identical types" in low or "same type" in low or "type mismatch" in low:
        return (
            "types are mixed: make the whole graph half at once with paredown quantize ONNX --precision fp16"
        )
    if operator == "Attention":
        return "export with --opset 17 to 20, where attention is plain products"
    return (
        "export with another --exporter (torchscript or dynamo) or --opset (17 to 20): both write other nodes"
    )
