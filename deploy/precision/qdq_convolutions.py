"""Static eight-bit convolutions: pairs where eight bits flow (see ``deploy.graph.convolutions``).

On CPUs ONNX Runtime takes the pairs around a convolution for one integer kernel where its output has one
too, behind its Relu or Clip if there is one; a residual sum of two such outputs is a kernel of integers as
well. A MaxPool passes the range of its input on, so that no value is rounded twice. TensorRT wants pairs on
inputs alone, and floats for biases.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import onnx

from deploy.graph import convolutions as conv
from deploy.graph import nodes as graph
from deploy.precision import qdq
from deploy.precision.eight_bits import EightBits
from deploy.precision.filters import Filters


def quantize(
    model: onnx.ModelProto,
    names: Set[str],
    spans: Mapping[str, qdq.Range],
    *,
    numbers: EightBits,
    filters: Filters,
    outputs: bool,
) -> None:
    """Put Q/DQ pairs around the named convolutions, in place, after those of products.

    Args:
        model: a graph with named nodes.
        names: of convolutions.
        spans: tensor that may get a pair -> its range.
        numbers: the eight-bit format of activations.
        filters: of the graph, in eight bits.
        outputs: whether outputs and residual sums get pairs (CPUs).
    """
    chosen = {convolution.name: convolution for convolution in conv.find(model) if convolution.name in names}
    if not chosen:
        return
    flow = conv.flow(model, list(chosen.values()), outputs=outputs)
    index = graph.Index(model)
    # Before any input is renamed: a range is found by walking the graph as it was.
    ranges = {name: spans[conv.source(index, name, spans.keys())] for name in flow.quantized}
    takers = {name: _taker(index, chosen, name) for name in flow.quantized}
    paired = {name for name in flow.quantized if f"{name}_dq" in index.maker}
    rewritten: list[onnx.NodeProto] = []

    def pair(tensor: str) -> None:
        if tensor in ranges and tensor not in paired:
            paired.add(tensor)
            rewritten.extend(qdq.pair(model, tensor, takers[tensor], ranges[tensor], numbers))

    for port in model.graph.input:
        pair(port.name)
    for node in model.graph.node:
        convolution = chosen.get(node.name)
        reads_all = convolution is not None or node.name in flow.sums
        node.input[:] = [
            f"{name}_dq"
            if name in ranges and (reads_all or name in flow.closed) and not _is_pair(node, name)
            else name
            for name in node.input
        ]
        if convolution is not None:
            nodes, floats = filters.add(model, convolution)
            rewritten += nodes
            node.input[:] = [node.input[0], *floats]
        rewritten.append(node)
        for name in node.output:
            pair(name)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)


def _taker(index: graph.Index, chosen: Mapping[str, conv.Convolution], tensor: str) -> str:
    """The name of a pair: of the first convolution that takes the tensor, or of what makes it."""
    for node in index.takers[tensor]:
        if node.name in chosen and node.input[0] == tensor:
            return node.name
    return f"{index.maker[tensor].name}_output"


def _is_pair(node: onnx.NodeProto, tensor: str) -> bool:
    return node.op_type == "QuantizeLinear" and node.output[0] == f"{tensor}_q"
