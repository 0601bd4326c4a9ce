"""Embedding tables in fewer bits: INT8 with one scale a row, or packed rows with a scale for each 32 values.

A per-tensor scale is set by the one largest entry of the table; a scale of its own costs a row of
384 entries one percent of its bytes. ``Gather(table)`` becomes
``Cast(Gather(q(table))) * Gather(scales)``, in standard operators, or ``GatherPacked(table)``, which is ONNX
Runtime's own (see ``packed_rows``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compress.errors import UserError
from deploy.graph import nodes as graph
from deploy.graph import runtime_versions
from deploy.precision import eight_bits, packed_rows

# Below it a table is not worth the two nodes that it costs.
SMALLEST_TABLE_BYTES = 1 << 16
_OPERATOR = "GatherPacked"
_PASSES_ON = frozenset({"Identity", "Cast"})


@dataclass(frozen=True)
class Table:
    """A table that was looked at.

    Attributes:
        name: of the table in the float graph.
        nodes: that look rows up in it.
        form: ``int8``, ``packed8``, ``packed4``, or ``float`` where it stays.
        bytes_before: of the float table.
        bytes_after: of what is stored instead, scales included.
        largest_difference: between a value of the table and what is looked up instead.
        reason: why it has not the form that was asked for; empty where it has.
    """

    name: str
    nodes: tuple[str, ...]
    form: str
    bytes_before: int
    bytes_after: int
    largest_difference: float
    reason: str = ""


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


def quantize(
    model: onnx.ModelProto,
    smallest: int = SMALLEST_TABLE_BYTES,
    packed: packed_rows.Form | None = None,
) -> list[Table]:
    """Rewrite the large tables in place, and say of each what became of it.

    A table that something else reads too (an output layer that is tied to it) stays float: it would be stored
    twice.

    Args:
        model: the graph, with its weights.
        smallest: bytes of a table that is rewritten.
        packed: the form of rows in blocks, for tables whose ids are an input of the graph; the others, and
            all where it is None, become INT8 with one scale a row.

    Raises:
        UserError: rows are to be packed, and the installed ONNX Runtime cannot read such.
    """
    if packed is not None and (lacking := runtime_versions.missing(_OPERATOR)):
        raise UserError(f"embeddings: {packed} was asked for. {lacking}, or say embeddings: true")
    index = graph.Index(model)
    lookups: dict[str, list[onnx.NodeProto]] = {}
    for node in tables(model, smallest):
        lookups.setdefault(node.input[0], []).append(node)
    replaced: dict[str, list[onnx.NodeProto]] = {}
    outcomes = []
    for table, nodes in lookups.items():
        array = index.array(table)
        names = tuple(node.name for node in nodes)
        others = [node for node in index.takers[table] if node.name not in names]
        if others or table in index.outputs:
            reader = f"'{others[0].name}' ({others[0].op_type})" if others else "an output"
            reason = f"{reader} reads the table too"
            outcomes.append(Table(table, names, "float", array.nbytes, array.nbytes, 0.0, reason))
            continue
        computed = packed is not None and not all(_is_given(model, index, node.input[1]) for node in nodes)
        if packed is None or computed:
            reason = "its ids are computed in the graph" if computed else ""
            stored, difference, lookup = _by_row(table, array)
        else:
            reason = ""
            stored, difference, lookup = _packed(table, array, packed)
        model.graph.initializer.extend(stored)
        replaced |= {node.name: lookup(node) for node in nodes}
        form = "int8" if packed is None or computed else packed
        after = sum(len(tensor.raw_data) for tensor in stored)
        outcomes.append(Table(table, names, form, array.nbytes, after, difference, reason))
    rewritten = [part for node in model.graph.node for part in replaced.get(node.name, (node,))]
    del model.graph.node[:]
    model.graph.node.extend(rewritten)
    graph.drop_unused(model)
    if any(table.form == packed for table in outcomes):
        _import_domain(model)
    return outcomes


_Lookup = Callable[[onnx.NodeProto], list[onnx.NodeProto]]


def _by_row(table: str, array: np.ndarray) -> tuple[Sequence[TensorProto], float, _Lookup]:
    """INT8 with one scale a row: what is stored, the largest difference, and a node in its new form."""
    scales = eight_bits.symmetric_scales(array, axis=0)
    integers = eight_bits.nearest_integer(eight_bits.scaled_by(array, scales, axis=0))
    column = np.ascontiguousarray(scales[:, None])

    def lookup(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        ids, output, name = node.input[1], node.output[0], node.name
        return [
            helper.make_node("Gather", [f"{table}_q", ids], [f"{output}_q"], f"{name}_rows", axis=0),
            helper.make_node(
                "Gather", [f"{table}_q_scale", ids], [f"{output}_scale"], f"{name}_scales", axis=0
            ),
            helper.make_node(
                "Cast", [f"{output}_q"], [f"{output}_cast"], f"{name}_cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{output}_cast", f"{output}_scale"], [output], f"{name}_rescale"),
        ]

    stored = (
        numpy_helper.from_array(integers, f"{table}_q"),
        numpy_helper.from_array(column, f"{table}_q_scale"),
    )
    return stored, float(np.abs(integers * column - array).max(initial=0)), lookup


def _packed(
    table: str, array: np.ndarray, form: packed_rows.Form
) -> tuple[Sequence[TensorProto], float, _Lookup]:
    """Rows in blocks: what is stored, the largest difference, and a node in its new form."""
    width, wide = array.shape[1], packed_rows.padded(array.shape[1])
    packed = packed_rows.pack(array, form)
    stored = [numpy_helper.from_array(packed, f"{table}_{form}")]
    cut = {"starts": [0], "ends": [width], "axes": [-1]} if width != wide else {}
    stored += [numpy_helper.from_array(np.array(v, np.int64), f"{table}_{form}_{k}") for k, v in cut.items()]

    def lookup(node: onnx.NodeProto) -> list[onnx.NodeProto]:
        output = node.output[0]
        gathered = f"{output}_wide" if cut else output
        nodes = [
            helper.make_node(
                _OPERATOR,
                [f"{table}_{form}", node.input[1]],
                [gathered],
                f"{node.name}_rows",
                domain=runtime_versions.DOMAIN,
                packed_type=packed_rows.LAYOUTS[form].number,
                output_dtype=TensorProto.FLOAT,
                K=wide,
            )
        ]
        if cut:
            bounds = [f"{table}_{form}_{name}" for name in cut]
            nodes.append(helper.make_node("Slice", [gathered, *bounds], [output], f"{node.name}_width"))
        return nodes

    return stored, packed_rows.largest_difference(array, packed, form), lookup


def _is_given(model: onnx.ModelProto, index: graph.Index, name: str) -> bool:
    """Whether ids are an input of the graph, as they are or of another type."""
    while name in index.maker and index.maker[name].op_type in _PASSES_ON:
        name = index.maker[name].input[0]
    return name in {entry.name for entry in model.graph.input}


def _import_domain(model: onnx.ModelProto) -> None:
    """Name ONNX Runtime's domain among those of the graph."""
    if all(entry.domain != runtime_versions.DOMAIN for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(runtime_versions.DOMAIN, 1))
