"""Whether an ONNX graph is one that the installed libraries know and that can be walked to its end.

Looked at without running anything: versions, operators, the order of nodes, calls between functions, sizes.
What ONNX's own checker finds is its sentence; what it lets pass (an operator set of the future, an operator
of a domain that nobody implements, functions that call each other in a circle) is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from compress import environment
from compress.errors import ArtifactError, first_line
from deploy.checking.tensors import LARGEST_ELEMENTS

# Five thousand nodes are a large encoder; past this, loading alone takes minutes.
_MOST_NODES = 200_000
# Of what an operator makes out of nothing but a shape: more is no mask and no table of positions.
_MOST_FILLED = 2**33
_FILLED_FROM = {"ConstantOfShape": 0, "Expand": 1}
_STANDARD = ("", "ai.onnx")
_ONNX = (*_STANDARD, "ai.onnx.ml")
_RUNTIME = "com.microsoft"

Function = tuple[str, str]


def check(model: onnx.ModelProto, path: Path) -> None:
    """Look at a graph that was loaded without external data.

    Args:
        model: the graph.
        path: of its file, which ONNX's own checker reads.

    Raises:
        ArtifactError: no library here knows it, or it is no graph that can be walked.
    """
    functions = {(one.domain, one.name): one for one in model.functions}
    bodies = [list(_nodes(model.graph.node)), *(list(_nodes(one.node)) for one in model.functions)]
    count = sum(map(len, bodies))
    if not model.graph.node or count > _MOST_NODES:
        raise ArtifactError(
            f"{path} has {count or 'no'} nodes; a model has 1 to {_MOST_NODES}: export the model again"
        )
    versions = {entry.domain: entry.version for entry in model.opset_import}
    _check_versions(versions, path)
    for nodes in bodies:
        for node in nodes:
            _check_operator(node, functions.keys(), versions, path)
    _check_calls(functions, path)
    _check_sizes(model, path)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as cause:
        raise ArtifactError(
            f"{path} is no valid ONNX graph ({first_line(cause)}): export the model again"
        ) from cause


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


def _check_operator(
    node: onnx.NodeProto, functions: Iterable[Function], versions: Mapping[str, int], path: Path
) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if (node.domain, node.op_type) in functions or (domain, node.op_type) in functions:
        return
    if domain in _ONNX:
        names = _STANDARD if domain == "" else (domain,)
        version = next((versions[name] for name in names if name in versions), 1)
        known = onnx.defs.has(node.op_type, domain=domain, max_inclusive_version=max(1, version))
    else:
        known = domain == _RUNTIME and node.op_type in (_runtime_operators() or (node.op_type,))
    if not known:
        raise ArtifactError(
            f"{path} has the operator '{node.op_type[:80]}' of domain '{domain[:80] or 'ai.onnx'}' (node "
            f"'{node.name[:80]}'), which neither ONNX nor ONNX Runtime has: custom operators are not run. "
            "Export the model without them"
        )


@cache
def _runtime_operators() -> frozenset[str]:
    """Operators of ONNX Runtime's own domain; empty where it is not installed or does not tell."""
    if environment.onnxruntime_distribution() is None:
        return frozenset()
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    listed = getattr(state, "get_all_operator_schema", None)
    return frozenset(one.name for one in listed() if one.domain == _RUNTIME) if listed else frozenset()


def _check_calls(functions: Mapping[Function, Any], path: Path) -> None:
    """Refuse functions that call each other in a circle: taking them apart would never end."""
    calls = {
        name: {(node.domain, node.op_type) for node in _nodes(body.node)} & functions.keys()
        for name, body in functions.items()
    }
    while calls:
        ends = {name for name, called in calls.items() if not called & calls.keys()}
        if not ends:
            circle = ", ".join(sorted(name for _, name in calls))
            raise ArtifactError(f"{path} has functions that call each other in a circle: {circle[:200]}")
        calls = {name: called for name, called in calls.items() if name not in ends}


def _check_sizes(model: onnx.ModelProto, path: Path) -> None:
    """Refuse sizes that no tensor has, in what is declared and in what is filled from a constant shape."""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.HasField("dim_value") and not 0 <= size.dim_value <= LARGEST_ELEMENTS:
                raise ArtifactError(f"{path}: '{value.name[:80]}' has a size of {size.dim_value} on an axis")
    shapes = {
        one.name: one
        for one in model.graph.initializer
        if one.data_type == onnx.TensorProto.INT64 and len(one.dims) == 1 and one.dims[0] <= 16
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
