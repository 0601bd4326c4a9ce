"""Dynamic INT8: weights are stored as integers, ranges of activations are taken at run time.

``y = x @ W`` becomes ``MatMulInteger(q(x), q(W)) * (s_x * s_W)``, in exactly the pattern that ONNX
Runtime fuses into one kernel (DynamicQuantizeMatMul, or MatMulIntegerToFloat where several products
share one quantized input).
"""

from __future__ import annotations

from collections.abc import Set

import onnx
from onnx import helper

from deploy.graph import nodes as graph
from deploy.graph import products
from deploy.precision.weights import Weights


def quantize(model: onnx.ModelProto, names: Set[str], weights: Weights) -> None:
    """Rewrite the named weight products in place.

    Args:
        model: a float graph with named nodes.
        names: of weight products.
        weights: of the graph, in eight bits.
    """
    chosen = {one.name: one for one in products.find(model) if one.name in names}
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
            rewritten.append(
                helper.make_node(
                    "DynamicQuantizeLinear",
                    [product.input],
                    [f"{product.input}_q", f"{product.input}_q_scale", f"{product.input}_q_zero"],
                    f"{product.name}_quantize",
                )
            )
        if product.weight not in stored:
            stored.add(product.weight)
            weights.add(model, product.weight)
        rewritten += _product(product, node)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)


def _product(product: products.WeightProduct, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    source, weight, name = product.input, product.weight, product.name
    bias = node.input[2] if product.op == "Gemm" and len(node.input) > 2 and node.input[2] else None
    result = f"{product.output}_product" if bias else product.output
    made = [
        helper.make_node(
            "MatMulInteger",
            [f"{source}_q", f"{weight}_q", f"{source}_q_zero", f"{weight}_zero"],
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
        helper.make_node(
            "Mul",
            [f"{source}_q_scale", f"{weight}_scale"],
            [f"{product.output}_scale"],
            f"{name}_scale",
        ),
        helper.make_node(
            "Mul", [f"{product.output}_cast", f"{product.output}_scale"], [result], f"{name}_rescale"
        ),
    ]
    if bias:
        made.append(helper.make_node("Add", [result, bias], [product.output], f"{name}_bias"))
    return made
