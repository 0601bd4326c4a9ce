"""Static eight-bit graphs: Q/DQ pairs around the weight products, and nowhere else.

``y = x @ W`` becomes ``DQ(Q(x)) @ DQ(W_int8)``, or the same with FP8. Products that share an input
share its pair. Softmax, LayerNorm, GELU, biases, residual sums and the products of attention stay
float: an encoder loses accuracy there and gains nothing (ONNX Runtime's own defaults quantize them).
Other nodes take quantized inputs only where they are named (``operands``): TensorRT fuses attention in
INT8 when pairs stand before both of its products, and keeps the residual in eight bits when its sum
takes the pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import products
from deploy.precision.eight_bits import EightBits
from deploy.precision.weights import Weights


@dataclass(frozen=True)
class Range:
    """What a tensor's eight bits span.

    Attributes:
        low: smallest value that is not clipped.
        high: largest value that is not clipped.
    """

    low: float
    high: float


def quantize(
    model: onnx.ModelProto,
    names: Set[str],
    spans: Mapping[str, Range],
    *,
    numbers: EightBits,
    weights: Weights,
    operands: Sequence[products.Operands] = (),
) -> None:
    """Put Q/DQ pairs around the named weight products, in place.

    Args:
        model: a float graph with named nodes.
        names: of weight products.
        spans: tensor that gets a pair -> its range.
        numbers: the eight-bit format of activations.
        weights: of the graph, in eight bits.
        operands: further nodes that take quantized inputs.
    """
    chosen = {product.name: product for product in products.find(model) if product.name in names}
    operands_by_name = {operand.name: operand for operand in operands}
    rewritten: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    for node in model.graph.node:
        product, operand = chosen.get(node.name), operands_by_name.get(node.name)
        if product is not None:
            if product.input not in quantized:
                quantized.add(product.input)
                rewritten += pair(model, product.input, product.name, spans[product.input], numbers)
            if product.weight not in quantized:
                quantized.add(product.weight)
                weights.add(model, product.weight)
            rewritten += _product(product, node)
            continue
        if operand is not None:
            for place, tensor in enumerate(operand.tensors):
                if tensor not in quantized:
                    quantized.add(tensor)
                    rewritten += pair(model, tensor, f"{node.name}_{place}", spans[tensor], numbers)
            node.input[:] = [f"{name}_dq" if name in operand.tensors else name for name in node.input]
        rewritten.append(node)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)


def pair(
    model: onnx.ModelProto, tensor: str, taker: str, span: Range, numbers: EightBits
) -> list[onnx.NodeProto]:
    """The two nodes, named after the first node that takes them: a node's name says its layer."""
    scale, zero = numbers.activation(span.low, span.high)
    for suffix, value in (("_scale", scale), ("_zero", zero)):
        model.graph.initializer.append(numpy_helper.from_array(value, f"{tensor}{suffix}"))
    parameters = [f"{tensor}_scale", f"{tensor}_zero"]
    return [
        helper.make_node("QuantizeLinear", [tensor, *parameters], [f"{tensor}_q"], f"{taker}_QuantizeLinear"),
        helper.make_node(
            "DequantizeLinear", [f"{tensor}_q", *parameters], [f"{tensor}_dq"], f"{taker}_DequantizeLinear"
        ),
    ]


def _product(product: products.WeightProduct, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    weight, name = product.weight, product.name
    bias = node.input[2] if product.op == "Gemm" and len(node.input) > 2 and node.input[2] else None
    result = f"{product.output}_product" if bias else product.output
    nodes = [
        helper.make_node(
            "DequantizeLinear",
            [f"{weight}_q", f"{weight}_scale", f"{weight}_zero"],
            [f"{product.output}_weight"],
            f"{name}_weight_DequantizeLinear",
            axis=1,
        ),
        helper.make_node("MatMul", [f"{product.input}_dq", f"{product.output}_weight"], [result], name),
    ]
    if bias:
        nodes.append(helper.make_node("Add", [result, bias], [product.output], f"{name}_bias"))
    return nodes
