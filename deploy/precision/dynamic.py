"""Dynamic INT8: weights are stored as integers, ranges of activations are taken at run time.

``y = x @ W`` becomes ``MatMulInteger(q(x), q(W)) * (s_x * s_W)``, in exactly the pattern that ONNX
Runtime fuses into one kernel (DynamicQuantizeMatMul, or MatMulIntegerToFloat where several products
share one quantized input).

``DynamicQuantizeLinear`` has one range for the whole tensor: the answer to a row depends on the rows
beside it. With scales by token each position has its own, ``s_t = max|x_t| / 127``, in standard
operators: nothing of a batch reaches another row. No single kernel exists for that, so it is slower.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import products
from deploy.precision.weights import Weights

Scales = Literal["tensor", "token"]

# Positions are quantized symmetrically around 128: unsigned, as CPUs multiply them by signed weights.
_LARGEST = 127.0
_MIDDLE = 128
_AXES_AS_INPUT = 18  # of ReduceMax, from this opset on


def quantize(model: onnx.ModelProto, names: Set[str], weights: Weights, scales: Scales = "tensor") -> None:
    """Rewrite the named weight products in place.

    Args:
        model: a float graph with named nodes.
        names: of weight products.
        weights: of the graph, in eight bits.
        scales: of activations: one a tensor, or one a token (the vector that a row of the product is).
    """
    chosen = {product.name: product for product in products.find(model) if product.name in names}
    rewritten: list[onnx.NodeProto] = []
    quantized: set[str] = set()
    stored: set[str] = set()
    for node in model.graph.node:
        product = chosen.get(node.name)
        if product is None:
            rewritten.append(node)
            continue
        if product.input not in quantized:
            quantized.add(product.input)
            rewritten += (
                _by_token(model, product)
                if scales == "token"
                else [
                    helper.make_node(
                        "DynamicQuantizeLinear",
                        [product.input],
                        [f"{product.input}_q", f"{product.input}_q_scale", f"{product.input}_q_zero"],
                        f"{product.name}_quantize",
                    )
                ]
            )
        if product.weight not in stored:
            stored.add(product.weight)
            weights.add(model, product.weight)
        rewritten += _product(product, node, scales)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)


def _by_token(model: onnx.ModelProto, product: products.WeightProduct) -> list[onnx.NodeProto]:
    """``NAME_q`` with a scale for every vector along the last axis; a vector of zeros stays one."""
    source, name = product.input, product.name
    constants = {tensor.name for tensor in model.graph.initializer}
    for suffix, value in _TOKEN_CONSTANTS.items():
        if f"by_token_{suffix}" not in constants:
            model.graph.initializer.append(numpy_helper.from_array(value, f"by_token_{suffix}"))
    peaks = [f"{source}_abs"]
    reduced = {"axes": [-1]} if graph.opset(model) < _AXES_AS_INPUT else {}
    if not reduced:
        peaks.append("by_token_axes")
    make = helper.make_node
    return [
        make("Abs", [source], [f"{source}_abs"], f"{name}_abs"),
        make("ReduceMax", peaks, [f"{source}_peak"], f"{name}_peak", keepdims=1, **reduced),
        make("Max", [f"{source}_peak", "by_token_least"], [f"{source}_held"], f"{name}_held"),
        make("Div", [f"{source}_held", "by_token_largest"], [f"{source}_q_scale"], f"{name}_scales"),
        make("Div", [source, f"{source}_q_scale"], [f"{source}_scaled"], f"{name}_scaled"),
        make(
            "QuantizeLinear",
            [f"{source}_scaled", "by_token_one", "by_token_middle"],
            [f"{source}_q"],
            f"{name}_quantize",
        ),
    ]


_TOKEN_CONSTANTS = {
    "axes": np.asarray([-1], np.int64),
    "largest": np.asarray(_LARGEST, np.float32),
    "least": np.asarray(np.finfo(np.float32).tiny * 1024, np.float32),
    "one": np.asarray(1, np.float32),
    "middle": np.asarray(_MIDDLE, np.uint8),
}


def _product(product: products.WeightProduct, node: onnx.NodeProto, scales: Scales) -> list[onnx.NodeProto]:
    source, weight, name = product.input, product.weight, product.name
    bias = node.input[2] if product.op == "Gemm" and len(node.input) > 2 and node.input[2] else None
    result = f"{product.output}_product" if bias else product.output
    zero = "by_token_middle" if scales == "token" else f"{source}_q_zero"
    nodes = [
        helper.make_node(
            "MatMulInteger",
            [f"{source}_q", f"{weight}_q", zero, f"{weight}_zero"],
            [f"{product.output}_integer"],
            f"{name}_integer",
        ),
        helper.make_node(
            "Cast",
            [f"{product.output}_integer"],
            [f"{product.output}_cast"],
            f"{name}_cast",
            to=onnx.TensorProto.FLOAT,
        ),
    ]
    if scales == "token":
        # Two factors in a row, and no product of scales: ONNX Runtime takes that for one scale a tensor.
        factors = [
            (f"{product.output}_cast", f"{weight}_scale", f"{product.output}_columns", f"{name}_columns"),
            (f"{product.output}_columns", f"{source}_q_scale", result, f"{name}_rescale"),
        ]
    else:
        factors = [
            (f"{source}_q_scale", f"{weight}_scale", f"{product.output}_scale", f"{name}_scale"),
            (f"{product.output}_cast", f"{product.output}_scale", result, f"{name}_rescale"),
        ]
    nodes += [helper.make_node("Mul", [a, b], [output], label) for a, b, output, label in factors]
    if bias:
        nodes.append(helper.make_node("Add", [result, bias], [product.output], f"{name}_bias"))
    return nodes
