"""Static INT8: Q/DQ pairs around the weight products, and nowhere else.

``y = x @ W`` becomes ``DQ(Q(x)) @ DQ(W_int8)``. Products that share an input share its pair. Softmax,
LayerNorm, GELU, biases, residual sums and the products of attention stay float: an encoder loses
accuracy there and gains nothing (ONNX Runtime's own defaults quantize them).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import products
from deploy.precision import integers


@dataclass(frozen=True)
class Range:
    """What a tensor's integers span.

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
    signed: bool,
    largest: int = 127,
    index: graph.Index | None = None,
) -> None:
    """Put Q/DQ pairs around the named weight products, in place.

    Args:
        model: a float graph with named nodes.
        names: of weight products.
        spans: input tensor of a product -> its range.
        signed: symmetric S8 activations (TensorRT); asymmetric U8 otherwise.
        largest: integer for the largest weight of a channel; 64 where the CPU adds with saturation.
        index: of the model, where its weights lie in a folder.
    """
    index = index or graph.Index(model)
    chosen = {one.name: one for one in products.find(model) if one.name in names}
    rewritten: list[onnx.NodeProto] = []
    made: set[str] = set()
    for node in model.graph.node:
        product = chosen.get(node.name)
        if product is None:
            rewritten.append(node)
            continue
        if product.input not in made:
            made.add(product.input)
            rewritten += _activation(model, product, spans[product.input], signed)
        if product.weight not in made:
            made.add(product.weight)
            array = index.array(product.weight)
            store_weight(model, product.weight, array.T if product.transposed else array, largest)
        rewritten += _product(product, node)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)


def store_weight(model: onnx.ModelProto, name: str, weight: np.ndarray, largest: int) -> None:
    """Add int8 values, scales and zero points of a weight [in, out] as initializers."""
    scales = integers.symmetric_scales(weight, axis=1, largest=largest)
    whole = integers.quantize_symmetric(weight, scales, axis=1, largest=largest)
    for suffix, array in (("_q", whole), ("_scale", scales), ("_zero", np.zeros_like(whole[0]))):
        model.graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(array), f"{name}{suffix}")
        )


def _activation(
    model: onnx.ModelProto, product: products.WeightProduct, span: Range, signed: bool
) -> list[onnx.NodeProto]:
    scale: np.float32
    zero: np.int8 | np.uint8
    if signed:
        scale, zero = integers.symmetric_s8(span.low, span.high)
    else:
        scale, zero = integers.asymmetric_u8(span.low, span.high)
    tensor = product.input
    for suffix, value in (("_scale", scale), ("_zero", zero)):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{tensor}{suffix}"))
    parameters = [f"{tensor}_scale", f"{tensor}_zero"]
    # Named after the first product that takes it: a node's name says its layer.
    return [
        helper.make_node(
            "QuantizeLinear", [tensor, *parameters], [f"{tensor}_q"], f"{product.name}_QuantizeLinear"
        ),
        helper.make_node(
            "DequantizeLinear",
            [f"{tensor}_q", *parameters],
            [f"{tensor}_dq"],
            f"{product.name}_DequantizeLinear",
        ),
    ]


def _product(product: products.WeightProduct, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    weight, name = product.weight, product.name
    bias = node.input[2] if product.op == "Gemm" and len(node.input) > 2 and node.input[2] else None
    result = f"{product.output}_product" if bias else product.output
    made = [
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
        made.append(helper.make_node("Add", [result, bias], [product.output], f"{name}_bias"))
    return made
