"""Whether an ONNX graph is one that the installed libraries know and that can be walked to its end.

Looked at without running anything: versions, operators, the order of nodes, calls between functions, sizes.
What ONNX's own checker finds, types and shapes that do not meet inside the graph among it, is its sentence;
what it lets pass (an operator set of the future, an operator of a domain that nobody implements, one that
draws random numbers, a loop, functions that call each other in a circle) is found here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from compress import environment
from compress.errors import ArtifactError, first_line
from deploy.checking import tensors
from deploy.graph import runtime_versions

# Five thousand nodes are a large encoder; past this, loading alone takes minutes. Calls of functions count as
# what is in them: each is put in its place when a graph is loaded.
_MOST_NODES = 50_000
# Of what an operator makes out of nothing but a shape: more is no mask and no table of positions.
_MOST_FILLED = 2**33
_FILLED_FROM = {"ConstantOfShape": 0, "Expand": 1}
_STANDARD = ("", "ai.onnx")
_ONNX = (*_STANDARD, "ai.onnx.ml")
RUNTIME = runtime_versions.DOMAIN
# Holds what another program compiled, or the name of a file with it.
_COMPILED = "EPContext"

# Shapes and axes have fewer numbers; weights have more.
_MOST_CHECKED = 1024
# Answers would be others on every run.
_RANDOM = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Bernoulli", "Multinomial"),
    }
)

Function = tuple[str, str]


def check_count(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a graph that is too large to be looked at node by node, or has none.

    Raises:
        ArtifactError: it is.
    """
    count = len(model.graph.node)
    if not 0 < count + sum(len(function.node) for function in model.functions) <= _MOST_NODES or not count:
        raise _miscounted(count, path)


def _miscounted(count: int, path: Path) -> ArtifactError:
    return ArtifactError(
        f"{path} has {count or 'no'} nodes; a model has 1 to {_MOST_NODES}: export the model again"
    )


def check_names(message: Any, path: Path) -> None:
    """Refuse a graph with a name that is no text: protobuf hands such a one over as bytes, not as a string.

    Args:
        message: the graph, or a part of it.
        path: of its file.

    Raises:
        ArtifactError: a name of an operator, a tensor, a domain or a place is no UTF-8.
    """
    for field, value in message.ListFields():
        parts = value if tensors.repeats(field) else (value,)
        if field.message_type is not None:
            for part in parts:
                check_names(part, path)
        elif field.type == field.TYPE_STRING and any(isinstance(part, bytes) for part in parts):
            raise ArtifactError(
                f"{path} is no ONNX graph, or not all of one (a {field.name} in it is no UTF-8): export the "
                "model again"
            )


def check(model: onnx.ModelProto, path: Path) -> None:
    """Look at a graph that was loaded without external data.

    Args:
        model: the graph.
        path: of its file.

    Raises:
        ArtifactError: no library here knows it, or it is no graph that can be walked.
    """
    functions = {(function.domain, function.name): function for function in model.functions}
    bodies = {name: list(_nodes(body.node)) for name, body in functions.items()}
    main = list(_nodes(model.graph.node))
    inside = _expanded(bodies, path)
    count = sum(inside.get((node.domain, node.op_type), 1) for node in main)
    if count > _MOST_NODES:
        raise _miscounted(count, path)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    _check_versions(versions, path)
    for nodes in (main, *bodies.values()):
        for node in nodes:
            _check_operator(node, functions.keys(), versions, path)
    _check_random(model, path)
    _check_loops(model, path)
    _check_sizes(model, path)
    try:
        onnx.checker.check_model(_hollow(model), full_check=True)
    # The last is for a type that ONNX has no name for.
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as cause:
        raise ArtifactError(
            f"{path} is no valid ONNX graph ({_plain(cause)}): export the model again"
        ) from cause


def _hollow(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with an input of the same type and shape in place of every large or external constant.

    Types and shapes meet in it where they meet in the graph, and what the checker copies is small.
    """
    hollow = _without(model, "graph")
    hollow.graph.CopyFrom(_without(model.graph, "initializer"))
    for tensor in model.graph.initializer:
        inside = tensor.data_location != onnx.TensorProto.EXTERNAL
        if inside and math.prod(tensor.dims) <= _MOST_CHECKED:
            hollow.graph.initializer.append(tensor)
        elif all(tensor.name != value.name for value in model.graph.input):
            hollow.graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    return hollow


def _without(message: Any, left_out: str) -> Any:
    """A copy of a message of ONNX's format but for one field."""
    copied = type(message)()
    for field, value in message.ListFields():
        if field.name == left_out:
            continue
        if tensors.repeats(field):
            getattr(copied, field.name).extend(value)
        elif field.message_type is not None:
            getattr(copied, field.name).CopyFrom(value)
        else:
            setattr(copied, field.name, value)
    return copied


def _plain(cause: Exception) -> str:
    """The first line of what ONNX says, without the names of its own exceptions."""
    return re.sub(r"\[\w+\] |Inference error\(s\): ", "", first_line(cause))


def _check_random(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a graph that draws random numbers, be it in a dropout that is on."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in all_nodes(model):
        drops = node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]
        training = drops and (
            node.input[2] not in initializers or numpy_helper.to_array(initializers[node.input[2]]).any()
        )
        if node.op_type in _RANDOM or training:
            raise ArtifactError(
                f"{path} draws random numbers (node '{node.name[:80]}', {node.op_type}): its answers would "
                "be others on every run. Export the model in evaluation mode"
            )


def loops(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that run a subgraph as often as they compute while they run.

    ``If`` runs a branch once and ``Scan`` its body once a slice; a ``Loop`` may go on for ever, and no look
    at the graph tells.
    """
    return [node for node in all_nodes(model) if node.op_type == "Loop" and node.domain in _STANDARD]


def _check_loops(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a graph whose end nothing but a run shows: that run may never end."""
    if found := loops(model):
        raise ArtifactError(
            f"{path} has a loop (node '{found[0].name[:80]}', Loop), and whether one ends is not seen before "
            "it is run: no model that paredown exports has any. Export the model again, its loops unrolled"
        )


def all_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Every node of a graph, those of subgraphs and functions included."""
    return [
        node
        for nodes in (model.graph.node, *(function.node for function in model.functions))
        for node in _nodes(nodes)
    ]


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, those of the graphs in their attributes included."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(graph.node)


def _check_versions(versions: Mapping[str, int], path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    opset = next((versions[domain] for domain in _STANDARD if domain in versions), None)
    if opset is None or not 1 <= opset <= newest:
        raise ArtifactError(
            f"{path} asks for opset {opset}, and the installed onnx {onnx.__version__} knows 1 to {newest}: "
            "export the model again with an opset that this version has"
        )
    if all(domain in versions for domain in _STANDARD) or versions.get(RUNTIME, 1) != 1:
        listed = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in versions.items())
        raise ArtifactError(
            f"{path} asks for operator sets that ONNX Runtime does not load ({listed[:200]}): it takes one "
            f"of ai.onnx, and {RUNTIME} 1. Export the model again"
        )


def _check_operator(
    node: onnx.NodeProto, functions: Iterable[Function], versions: Mapping[str, int], path: Path
) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if (node.domain, node.op_type) in functions or (domain, node.op_type) in functions:
        return
    if domain in _ONNX:
        names = _STANDARD if domain == "" else (domain,)
        version = next((versions[name] for name in names if name in versions), 1)
        supported = onnx.defs.has(node.op_type, domain=domain, max_inclusive_version=max(1, version))
    else:
        supported = (
            domain == RUNTIME
            and node.op_type != _COMPILED
            and node.op_type in (_runtime_operators() or (node.op_type,))
        )
    if not supported and domain == RUNTIME and (lacking := _too_old(node.op_type)):
        raise ArtifactError(f"{path} has the operator '{node.op_type}'. {lacking}")
    if not supported:
        raise ArtifactError(
            f"{path} has the operator '{node.op_type[:80]}' of domain '{domain[:80] or 'ai.onnx'}' (node "
            f"'{node.name[:80]}'), which neither ONNX nor ONNX Runtime has: custom operators are not run. "
            "Export the model without them"
        )


def _too_old(operator: str) -> str | None:
    """Why an installed ONNX Runtime lacks an operator that a later one has."""
    return runtime_versions.missing(operator) if operator in runtime_versions.FIRST else None


@cache
def _runtime_operators() -> frozenset[str]:
    """Operators of ONNX Runtime's own domain; empty where it is not installed or does not tell."""
    if environment.onnxruntime_distribution() is None:
        return frozenset()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    listed = getattr(state, "get_all_operator_schema", None)
    return (
        frozenset(schema.name for schema in listed() if schema.domain == RUNTIME) if listed else frozenset()
    )


def _expanded(bodies: Mapping[Function, list[onnx.NodeProto]], path: Path) -> dict[Function, int]:
    """How many nodes each function is when its own calls are put in their places.

    Raises:
        ArtifactError: functions call each other in a circle: putting them in their places would never end.
    """
    inside: dict[Function, int] = {}
    while len(inside) < len(bodies):
        ready = {
            name: sum(inside.get((node.domain, node.op_type), 1) for node in nodes)
            for name, nodes in bodies.items()
            if name not in inside
            and not {(node.domain, node.op_type) for node in nodes} & (bodies.keys() - inside.keys())
        }
        if not ready:
            circle = ", ".join(sorted(name for _, name in bodies.keys() - inside.keys()))
            raise ArtifactError(f"{path} has functions that call each other in a circle: {circle[:200]}")
        inside |= ready
    return inside


def _check_sizes(model: onnx.ModelProto, path: Path) -> None:
    """Refuse sizes that no tensor has, in what is declared and in what is filled from a constant shape."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_value") and not 0 <= size.dim_value <= tensors.LARGEST_ELEMENTS:
                raise ArtifactError(f"{path}: '{value.name[:80]}' has a size of {size.dim_value} on an axis")
    for sparse in model.graph.sparse_initializer:
        if math.prod(max(0, size) for size in sparse.dims) > _MOST_FILLED:
            raise ArtifactError(f"{path}: '{sparse.values.name[:80]}' is sparse and has the size of a planet")
    shapes = {
        initializer.name: initializer
        for initializer in model.graph.initializer
        if initializer.data_type == onnx.TensorProto.INT64
        and len(initializer.dims) == 1
        and initializer.dims[0] <= 16
    }
    for node in model.graph.node:
        place = _FILLED_FROM.get(node.op_type)
        if place is None or len(node.input) <= place or node.input[place] not in shapes:
            continue
        tensor = shapes[node.input[place]]
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        filled = 1
        for size in numpy_helper.to_array(tensor).tolist():
            filled *= max(1, int(size))
        if filled > _MOST_FILLED:
            raise ArtifactError(
                f"{path}: the node '{node.name[:80]}' fills {filled} numbers from a constant shape, which no "
                "model needs: export the model again"
            )
