"""The convolutions of a graph, where eight bits can flow between them, and batch norms folded into them.

A runtime multiplies a convolution in eight bits where its input, its weight and its output are quantized.
Between two of them stand a Relu or Clip, which is the lower and upper end of a range, a MaxPool, which
passes values on, and residual sums, which take eight bits where both of their sides have them.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from deploy.graph.nodes import Index, attribute, drop_unused

# What a range says as well as the node does.
_ENDS = frozenset({"Relu", "Clip"})
# Their outputs are values of their inputs.
_PASSING = frozenset({"MaxPool", "Identity", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze"})
_PRODUCTS = frozenset({"Conv", "MatMul", "Gemm"})


@dataclass(frozen=True)
class Convolution:
    """One Conv with a constant weight and bias.

    Attributes:
        name: of the node.
        input: the computed side.
        weight: the initializer, [out, in / groups, *kernel].
        bias: the initializer, [out]; None where there is none.
        output: what the node makes.
        groups: as many as input channels in a depthwise one.
        head: whether an output of the graph depends on it through no other product.
    """

    name: str
    input: str
    weight: str
    bias: str | None
    output: str
    groups: int
    head: bool


def find(model: onnx.ModelProto) -> list[Convolution]:
    """Every convolution with constant weights and explicit pads, in the order of the graph."""
    index = Index(model)
    heads = _heads(index)
    convolutions = []
    for node in model.graph.node:
        if node.op_type != "Conv" or not index.is_float_constant(node.input[1]):
            continue
        bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
        if node.input[0] in index.constants or (bias is not None and not index.is_float_constant(bias)):
            continue
        if _text(node, "auto_pad", "NOTSET") != "NOTSET":
            continue
        groups = int(attribute(node, "group", 1))
        output = node.output[0]
        convolutions.append(
            Convolution(node.name, node.input[0], node.input[1], bias, output, groups, output in heads)
        )
    return convolutions


def _heads(index: Index) -> set[str]:
    """Outputs of products from which a graph output is reached through no other product."""
    heads: set[str] = set()
    visited: set[str] = set()
    waiting = list(index.outputs)
    while waiting:
        tensor = waiting.pop()
        if tensor in visited or tensor not in index.maker:
            continue
        visited.add(tensor)
        node = index.maker[tensor]
        if node.op_type in _PRODUCTS:
            heads.add(tensor)
        else:
            waiting.extend(name for name in node.input if name)
    return heads


@dataclass(frozen=True)
class Flow:
    """Where eight bits flow between some convolutions.

    Attributes:
        quantized: tensors that get a pair, in the order of the graph.
        sums: names of the residual sums that take and give eight bits.
        closed: those of the tensors whose every taker reads the pair: outputs of convolutions and of sums.
    """

    quantized: tuple[str, ...]
    sums: frozenset[str]
    closed: frozenset[str]


def flow(model: onnx.ModelProto, convolutions: Sequence[Convolution], *, outputs: bool) -> Flow:
    """The tensors that get a pair so that these convolutions run in eight bits.

    Args:
        model: a float graph in topological order.
        convolutions: those that become eight bits.
        outputs: whether outputs and residual sums do too, as CPUs want it; TensorRT wants inputs alone.
    """
    index = Index(model)
    names = {convolution.name for convolution in convolutions}
    quantized = dict.fromkeys(convolution.input for convolution in convolutions)
    if not outputs:
        return Flow(tuple(quantized), frozenset(), frozenset())
    sums: set[str] = set()
    closed: set[str] = set()
    for node in model.graph.node:
        is_sum = node.op_type == "Add" and len(node.input) == 2 and quantized.keys() >= set(node.input)
        if node.name not in names and not is_sum:
            continue
        end = _end(index, node.output[0])
        if end in index.outputs:
            continue
        if is_sum:
            sums.add(node.name)
        quantized[end] = None
        closed.add(end)
    return Flow(tuple(quantized), frozenset(sums), frozenset(closed))


def _end(index: Index, tensor: str) -> str:
    """The tensor behind a Relu or Clip that alone takes this one; else this one."""
    takers = index.takers[tensor]
    if len(takers) == 1 and takers[0].op_type in _ENDS and tensor not in index.outputs:
        return takers[0].output[0]
    return tensor


def source(index: Index, tensor: str, ranged: Set[str]) -> str:
    """The tensor that has this one's range: before nodes that only pass values on, where it is known."""
    origin = tensor
    while origin in index.maker and index.maker[origin].op_type in _PASSING:
        origin = index.maker[origin].input[0]
    return origin if origin in ranged else tensor


def fold_batch_norms(model: onnx.ModelProto) -> int:
    """Fold every BatchNormalization that alone takes a convolution's output into it, in place; how many.

    ``g * (W x + b - m) / sqrt(v + e) + a`` is a convolution with the weight ``W g / sqrt(v + e)``. It is done
    in double precision, since a channel that hardly varies divides by a number near zero.
    """
    index = Index(model)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    gone: set[str] = set()
    for convolution in find(model):
        takers = index.takers[convolution.output]
        if len(takers) != 1 or takers[0].op_type != "BatchNormalization":
            continue
        norm = takers[0]
        parameters = [convolution.weight] + ([] if convolution.bias is None else [convolution.bias])
        if (
            convolution.output in index.outputs
            or any(len(index.takers[name]) > 1 or name not in initializers for name in parameters)
            or not all(index.is_float_constant(name) for name in norm.input[1:5])
        ):
            continue
        gain, shift, mean, variance = (index.array(name).astype(np.float64) for name in norm.input[1:5])
        factor = gain / np.sqrt(variance + attribute(norm, "epsilon", 1e-5))
        weight = index.array(convolution.weight).astype(np.float64)
        bias = 0.0 if convolution.bias is None else index.array(convolution.bias).astype(np.float64)
        weight = weight * factor.reshape(-1, *(1,) * (weight.ndim - 1))
        initializers[convolution.weight].CopyFrom(
            numpy_helper.from_array(weight.astype(np.float32), convolution.weight)
        )
        name = convolution.bias or f"{convolution.output}_bias"
        folded = numpy_helper.from_array(((bias - mean) * factor + shift).astype(np.float32), name)
        node = index.maker[convolution.output]
        if convolution.bias is None:
            model.graph.initializer.append(folded)
            node.input[:] = [*node.input[:2], name]
        else:
            initializers[name].CopyFrom(folded)
        node.output[0] = norm.output[0]
        gone.add(norm.name)
    staying = [node for node in model.graph.node if node.name not in gone]
    if gone:
        del model.graph.node[:]
        model.graph.node.extend(staying)
        drop_unused(model)
    return len(gone)


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    for entry in node.attribute:
        if entry.name == name:
            return entry.s.decode()
    return default


def window(node: onnx.NodeProto, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Pads before and after, strides and dilations of a Conv, one number an axis each."""
    listed = {entry.name: list(entry.ints) for entry in node.attribute if entry.name in _WINDOW}
    axes = len(kernel)
    pads = listed.get("pads", [0] * (2 * axes))
    return (
        pads[:axes],
        pads[axes:],
        listed.get("strides", [1] * axes),
        listed.get("dilations", [1] * axes),
    )


_WINDOW = frozenset({"pads", "strides", "dilations"})
