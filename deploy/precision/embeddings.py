"""Embedding tables in INT8, one scale a row: a quarter of the bytes and next to no error.

A per-tensor scale is set by the one largest entry of the table; a scale of its own costs a row of
384 entries one percent of its bytes. ``Gather(table)`` becomes
``Cast(Gather(q(table))) * Gather(scales)``, in standard operators.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.precision import eight_bits

# Below it a table is not worth the two nodes that it costs.
SMALLEST_TABLE_BYTES = 1 << 16


def tables(model: onnx.ModelProto, smallest: int = SMALLEST_TABLE_BYTES) -> list[onnx.NodeProto]:
    """The Gather nodes that look up rows of a float table of at least so many bytes."""
    index = graph.Index(model)
    gathers = []
    for node in model.graph.node:
        if node.op_type != "Gather" or not index.is_float_constant(node.input[0]):
            continue
        shape = index.shape(node.input[0])
        rows = graph.attribute(node, "axis", 0) == 0 and len(shape) == 2
        if rows and node.input[1] not in index.constants and 4 * shape[0] * shape[1] >= smallest:
            gathers.append(node)
    return gathers


def quantize(model: onnx.ModelProto, smallest: int = SMALLEST_TABLE_BYTES) -> list[str]:
    """Rewrite the large tables in place; gives the names of the nodes that were rewritten."""
    index = graph.Index(model)
    chosen = {node.name: node for node in tables(model, smallest)}
    rewritten: list[onnx.NodeProto] = []
    stored: set[str] = set()
    for node in model.graph.node:
        if node.name not in chosen:
            rewritten.append(node)
            continue
        table, ids, output, name = node.input[0], node.input[1], node.output[0], node.name
        if table not in stored:
            stored.add(table)
            array = index.array(table)
            scales = eight_bits.symmetric_scales(array, axis=0)
            integers = eight_bits.nearest_integer(eight_bits.scaled_by(array, scales, axis=0))
            model.graph.initializer.append(numpy_helper.from_array(integers, f"{table}_q"))
            model.graph.initializer.append(
                numpy_helper.from_array(np.ascontiguousarray(scales[:, None]), f"{table}_q_scale")
            )
        rewritten += [
            helper.make_node("Gather", [f"{table}_q", ids], [f"{output}_q"], f"{name}_rows", axis=0),
            helper.make_node(
                "Gather", [f"{table}_q_scale", ids], [f"{output}_scale"], f"{name}_scales", axis=0
            ),
            helper.make_node(
                "Cast", [f"{output}_q"], [f"{output}_cast"], f"{name}_cast", to=onnx.TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output], f"{name}_rescale"),
        ]
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)
    return list(chosen)
