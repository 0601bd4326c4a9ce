"""FP32 graph to FP16 or BF16, node by node, with the nodes that need it kept in FP32.

A node computes in half precision when its operator allows it and nothing blocks it; Casts stand where
half and float meet. Inputs and outputs of the graph keep their types. LayerNormalization takes and
gives halves and computes its statistics in FP32 (``stash_type`` 1, as the operator is specified);
means, sums and powers that stand alone stay in FP32 altogether, and so does what lies between them,
and what is computed from integers alone (``positions``).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Literal

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, defs, helper, numpy_helper

from compress.errors import ModelError
from deploy.graph import nodes as graph
from deploy.precision import positions
from deploy.precision.eight_bits import FP16_LARGEST

Half = Literal["fp16", "bf16"]

# Attention scores of masked positions: far below every real score, and finite in both halves (the
# lowest FP32 number becomes -inf in FP16 and BF16, and rows that are all -inf become NaN).
MASKED = -1e4

# Squares and long sums: out of range for FP16 at values that are harmless in FP32.
_FLOAT_OPS = frozenset(
    {"ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare", "Pow", "Sqrt", "Reciprocal", "CumSum", "Range"}
)
# With the attribute that says in which type their statistics are computed.
_STASHING_OPS = frozenset({"LayerNormalization", "RMSNormalization", "GroupNormalization"})
_TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
_TYPE_NAMES = {"fp16": "tensor(float16)", "bf16": "tensor(bfloat16)"}


def round_to(array: np.ndarray, kind: Half) -> np.ndarray:
    """The nearest halves, ties to even, as a numpy array of that type."""
    return array.astype(np.float16 if kind == "fp16" else ml_dtypes.bfloat16)


def bound_masks(model: onnx.ModelProto) -> list[str]:
    """Replace constants below what a half can hold by ``MASKED``, in place; gives their names."""
    changed: list[str] = []

    def bounded(tensor: TensorProto) -> TensorProto | None:
        if tensor.data_type != TensorProto.FLOAT:
            return None
        array = numpy_helper.to_array(tensor)
        low = array < -FP16_LARGEST
        if not low.any():
            return None
        return numpy_helper.from_array(
            np.where(low, np.float32(MASKED), array).astype(np.float32), tensor.name
        )

    for tensor in model.graph.initializer:
        if (replacement := bounded(tensor)) is not None:
            changed.append(tensor.name)
            tensor.CopyFrom(replacement)
    for node in model.graph.node:
        if node.op_type in ("Constant", "ConstantOfShape"):
            for attribute in node.attribute:
                if attribute.name == "value" and (replacement := bounded(attribute.t)) is not None:
                    changed.append(node.output[0])
                    attribute.t.CopyFrom(replacement)
    return changed


def float_tensors(model: onnx.ModelProto, types: dict[str, int]) -> list[str]:
    """The FP32 tensors that nodes make, in order."""
    return [
        name
        for node in model.graph.node
        if node.op_type != "Constant"
        for name in node.output
        if types.get(name) == TensorProto.FLOAT
    ]


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor, by ONNX's own inference over the graph without its weights.

    Raises:
        ModelError: a node's type stays unknown, or the graph has branches.
    """
    # A protobuf of 2 GB passes through no inference: large weights stand as inputs of their shape.
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.name = model.graph.name
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT or len(tensor.raw_data) > 1 << 16:
            light.graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
        else:
            light.graph.initializer.append(tensor)
    inferred = onnx.shape_inference.infer_shapes(light, strict_mode=False)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for info in (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info):
        types[info.name] = info.type.tensor_type.elem_type
    for node in model.graph.node:
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            raise ModelError(
                f"the graph has a branch or loop ({node.op_type} '{node.name}'): half precision takes "
                "graphs without; export with the other exporter"
            )
        unknown = [name for name in node.output if name and not types.get(name)]
        if unknown:
            raise ModelError(
                f"the type of '{unknown[0]}' ({node.op_type}) is not known: half precision takes plain "
                "ONNX operators; give it the graph that export-onnx made"
            )
    return types


def allowed(node: onnx.NodeProto, kind: Half, opset: int, types: dict[str, int]) -> bool:
    """Whether the operator is defined for halves wherever this node has FP32."""
    if node.op_type in _FLOAT_OPS or node.domain not in ("", "ai.onnx"):
        return False
    try:
        schema = defs.get_schema(node.op_type, opset, "")
    except defs.SchemaError:
        return False
    constraints = {
        constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints
    }
    ports = [
        *zip(node.input, _ports(schema.inputs, len(node.input)), strict=True),
        *zip(node.output, _ports(schema.outputs, len(node.output)), strict=True),
    ]
    for name, port in ports:
        if types.get(name) == TensorProto.FLOAT and _TYPE_NAMES[kind] not in constraints.get(
            port.type_str, [port.type_str]
        ):
            return False
    return True


def _ports(formal: list[defs.OpSchema.FormalParameter], count: int) -> list[defs.OpSchema.FormalParameter]:
    """One formal parameter for each actual one; the last may be variadic."""
    return [formal[min(i, len(formal) - 1)] for i in range(count)]


@dataclass
class _Converter:
    """State of one conversion: which form of each tensor exists, and what casts were made."""

    model: onnx.ModelProto
    kind: Half
    types: dict[str, int]
    form: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, str], str] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)

    def take(self, name: str, form: str) -> str:
        """The name under which a tensor can be had as ``half`` or ``float``, casting where needed."""
        if self.types.get(name) != TensorProto.FLOAT or self.form.get(name, "float") == form:
            return name
        key = (name, form)
        if key not in self.made:
            alias = f"{name}_{self.kind if form == 'half' else 'fp32'}"
            self.made[key] = alias
            if name in self.constants and form == "half":
                array = numpy_helper.to_array(self.constants[name])
                self.model.graph.initializer.append(_half_tensor(array, alias, self.kind))
            else:
                target = _TYPES[self.kind] if form == "half" else TensorProto.FLOAT
                self.nodes.append(helper.make_node("Cast", [name], [alias], f"{alias}_Cast", to=target))
        return self.made[key]


def _half_tensor(array: np.ndarray, name: str, kind: Half) -> TensorProto:
    return numpy_helper.from_array(round_to(array, kind), name)


def convert(model: onnx.ModelProto, kind: Half, keep_float: Set[str]) -> list[str]:
    """Convert in place.

    Args:
        model: an FP32 graph (it may hold Q/DQ pairs) with named nodes and its weights.
        kind: which half.
        keep_float: names of nodes to compute in FP32.

    Returns:
        Names of the nodes with FP32 inputs or outputs that stay in FP32.

    Raises:
        ModelError: the graph has branches, or tensors of unknown type.
    """
    types = element_types(model)
    version = graph.opset(model)
    work = _Converter(model, kind, types, constants=graph.Index(model).constants)
    float_nodes = keep_float | _between(model) | positions.from_integers(model, types)
    stayed: list[str] = []
    outputs = {output.name for output in model.graph.output}
    for node in list(model.graph.node):
        floats = [name for name in (*node.input, *node.output) if types.get(name) == TensorProto.FLOAT]
        if not floats:
            work.nodes.append(node)
            continue
        if node.op_type == "Constant":
            # A constant is kept as it is; whoever wants halves takes an initializer of its own.
            work.nodes.append(node)
            continue
        fits = node.name not in float_nodes and allowed(node, kind, version, types)
        form = "half" if fits else "float"
        if form == "float":
            stayed.append(node.name)
        converted = onnx.NodeProto()
        converted.CopyFrom(node)
        converted.input[:] = [work.take(name, form) for name in node.input]
        casts = []
        if form == "half":
            _retype(converted, kind)
            for position, name in enumerate(node.output):
                if types.get(name) != TensorProto.FLOAT:
                    continue
                if name not in outputs:
                    work.form[name] = "half"
                    continue
                # An output of the graph keeps its name and type; the half gets another name.
                converted.output[position] = f"{name}_{kind}"
                casts.append(
                    helper.make_node("Cast", [f"{name}_{kind}"], [name], f"{name}_Cast", to=TensorProto.FLOAT)
                )
        work.nodes += [converted, *casts]
    del model.graph.node[:]
    model.graph.node.extend(work.nodes)
    del model.graph.value_info[:]
    graph.drop_dead(model)
    return stayed


def norms(model: onnx.ModelProto) -> list[str]:
    """The nodes that normalize over an axis in one operator."""
    return [node.name for node in model.graph.node if node.op_type in _STASHING_OPS]


def _between(model: onnx.ModelProto) -> set[str]:
    """Nodes that only carry a value from one FP32 operator to another.

    A variance that is written out is ``Sqrt(ReduceMean(Pow(x - mean, 2)) + eps)``: in halves the sum in the
    middle would overflow, and lose its epsilon.
    """
    index = graph.Index(model)
    names = set()
    for node in model.graph.node:
        sources = [name for name in node.input if name and name not in index.constants]
        takers = [taker for name in node.output for taker in index.takers[name]]
        if not sources or not takers or index.outputs & set(node.output):
            continue
        if all(name in index.maker and index.maker[name].op_type in _FLOAT_OPS for name in sources) and all(
            taker.op_type in _FLOAT_OPS for taker in takers
        ):
            names.add(node.name)
    return names


def _retype(node: onnx.NodeProto, kind: Half) -> None:
    """Point attributes that make FP32 at the half type; statistics are said to be FP32."""
    if node.op_type in _STASHING_OPS:
        attributes = [attribute for attribute in node.attribute if attribute.name != "stash_type"]
        del node.attribute[:]
        node.attribute.extend([*attributes, helper.make_attribute("stash_type", TensorProto.FLOAT)])
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = _TYPES[kind]
        elif attribute.name == "value" and attribute.t.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(attribute.t)
            attribute.t.CopyFrom(_half_tensor(array, attribute.t.name, kind))
