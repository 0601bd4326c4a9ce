"""Merging products that share an input: query, key and value become one product and a Split.

Exact: the columns of ``[W_q W_k W_v]`` are computed as before. One larger product uses the cores
better than three small ones, and its input is quantized once. Widths may differ (pruned heads).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import products


def _bias(index: graph.Index, product: products.WeightProduct) -> tuple[onnx.NodeProto, str] | None:
    """The Add of a constant vector that is the only taker of a MatMul's output."""
    takers = index.takers[product.output]
    if len(takers) != 1 or takers[0].op_type != "Add" or product.output in index.outputs:
        return None
    addends = [name for name in takers[0].input if name != product.output]
    if len(addends) != 1 or not index.is_float_constant(addends[0]):
        return None
    return (takers[0], addends[0]) if index.shape(addends[0]) == (product.shape[1],) else None


def merge(model: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Merge in place; gives the names of the products that became one, group by group."""
    index = graph.Index(model)
    groups: dict[str, list[tuple[products.WeightProduct, onnx.NodeProto, str]]] = defaultdict(list)
    for product in products.find(model):
        bias = _bias(index, product)
        if product.op == "MatMul" and bias is not None and not product.head:
            groups[product.input].append((product, *bias))
    groups = {source: members for source, members in groups.items() if len(members) > 1}
    if not groups:
        return []
    dead = {name for members in groups.values() for one, add, _ in members for name in (one.name, add.name)}
    first = {members[0][0].name: members for members in groups.values()}
    rewritten: list[onnx.NodeProto] = []
    stored: dict[tuple[str, ...], str] = {}
    for node in model.graph.node:
        if node.name in first:
            rewritten += _merged(model, index, first[node.name], stored)
        if node.name not in dead:
            rewritten.append(node)
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)
    return [tuple(product.name for product, _, _ in members) for members in groups.values()]


def _merged(
    model: onnx.ModelProto,
    index: graph.Index,
    members: list[tuple[products.WeightProduct, onnx.NodeProto, str]],
    stored: dict[tuple[str, ...], str],
) -> list[onnx.NodeProto]:
    """The nodes of one group; layers that share their weights share what is made of them (``stored``)."""
    name = f"{members[0][0].name}_merged"
    parts = tuple(part for product, _, constant in members for part in (product.weight, constant))
    constants = stored.setdefault(parts, name)
    if constants == name:
        _store(model, index, members, name)
    return [
        helper.make_node("MatMul", [members[0][0].input, f"{constants}_weight"], [f"{name}_product"], name),
        helper.make_node("Add", [f"{constants}_bias", f"{name}_product"], [f"{name}_sum"], f"{name}_add"),
        helper.make_node(
            "Split",
            [f"{name}_sum", f"{constants}_sizes"],
            [add.output[0] for _, add, _ in members],
            f"{name}_split",
            axis=-1,
        ),
    ]


def _store(
    model: onnx.ModelProto,
    index: graph.Index,
    members: list[tuple[products.WeightProduct, onnx.NodeProto, str]],
    name: str,
) -> None:
    weight = np.concatenate([index.array(product.weight) for product, _, _ in members], axis=1)
    bias = np.concatenate([index.array(constant) for _, _, constant in members])
    sizes = np.asarray([product.shape[1] for product, _, _ in members], dtype=np.int64)
    for suffix, array in (("_weight", weight), ("_bias", bias), ("_sizes", sizes)):
        model.graph.initializer.append(numpy_helper.from_array(array, f"{name}{suffix}"))
