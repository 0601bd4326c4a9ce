"""Whether an artifact holds what its kind and task say: looked at once, when a verb opens it.

Checksums say that nothing changed since an artifact was sealed, and not that what was sealed is a model:
anybody can seal a folder anew. Every verb that opens an artifact's graph has it looked at here first, before
ONNX Runtime, TensorRT or a converter gets it, and without running it: the sidecar files are read through
their models, the graph's tensors lie in the artifact, its operators and versions are known, and its inputs
and outputs are those of the task. What is wrong is one sentence with file and field.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from compress import catalog
from compress.errors import ArtifactError, ModelError, first_line
from compress.model import checkpoint, sample, shapes, weight_files
from deploy.checking import precision, structure, tensors
from deploy.content import declared, listing
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.tensorrt import passport

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.graph.facts import GraphFacts

# protobuf holds no more; larger weights lie beside the graph.
_LARGEST_GRAPH = 2**31 - 1
_TYPES = onnx.TensorProto
_WHOLE = frozenset({_TYPES.INT64, _TYPES.INT32})
_FLOATS = frozenset({_TYPES.FLOAT, _TYPES.FLOAT16, _TYPES.BFLOAT16, _TYPES.DOUBLE})


def check(artifact: Artifact) -> None:
    """Look at everything that an artifact's kind asks for.

    Args:
        artifact: sealed; its checksums were compared.

    Raises:
        ArtifactError: a file holds something else than it should.
        ModelError: the same, for the files that every model folder has.
    """
    encoder = check_sidecars(artifact)
    if artifact.kind == "onnx":
        facts = graph_facts.read(artifact)
        model = check_graph(artifact, facts)
        _check_ports(artifact, model, facts, encoder)
        declared.check_graph(artifact.path, model, encoder, facts)
    elif artifact.kind == "tensorrt":
        _check_engine(artifact)
    else:
        _check_weights(artifact)


def check_sidecars(artifact: Artifact) -> Encoder:
    """Read configuration, processor and limits; gives what encodes rows."""
    listing.check(artifact)
    for name in artifact.manifest.files:
        artifact.file(name)
    encoder = Encoder.open(artifact.path, catalog.task(artifact.task))
    declared.check(artifact.path, encoder)
    return encoder


def load_graph(artifact: Artifact) -> onnx.ModelProto:
    """The graph of an ONNX artifact without its external data.

    Raises:
        ArtifactError: the file is no ONNX graph.
    """
    path = artifact.file(graph_facts.MODEL)
    size = path.stat().st_size
    if not 0 < size <= _LARGEST_GRAPH:
        raise ArtifactError(
            f"{path} has {size} bytes, and an ONNX graph has 1 to {_LARGEST_GRAPH}: export the model again"
        )
    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as cause:
        raise ArtifactError(
            f"{path} is no ONNX graph, or not all of one ({first_line(cause)}): export the model again"
        ) from cause


def check_graph(artifact: Artifact, facts: GraphFacts) -> onnx.ModelProto:
    """Look at a graph without running it; gives it without its external data.

    Raises:
        ArtifactError: it is no graph that the installed libraries know, or reaches outside the artifact.
    """
    path = artifact.file(graph_facts.MODEL)
    model = load_graph(artifact)
    structure.check_count(model, path)
    structure.check_names(model, path)
    tensors.check(artifact, model, str(path))
    structure.check(model, path)
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if facts.opset != opset:
        raise ArtifactError(
            f"{artifact.path / graph_facts.FILE}: opset is {facts.opset}, and the graph has {opset}: export "
            "the model again"
        )
    if wrong := precision.contradictions(model, facts):
        raise ArtifactError(
            f"{artifact.path / graph_facts.FILE} is not of this graph ({'; '.join(wrong)}): export the model "
            "again"
        )
    return model


def _check_ports(artifact: Artifact, model: onnx.ModelProto, facts: GraphFacts, encoder: Encoder) -> None:
    """Hold names, types and ranks of a graph's ends against those of the task."""
    path = artifact.path / graph_facts.MODEL
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = {port.name: port for port in model.graph.input}
    outputs = {port.name: port for port in model.graph.output}
    ends = [port.name for port in (*model.graph.input, *model.graph.output)]
    if twice := sorted({name for name in ends if ends.count(name) > 1}):
        raise ArtifactError(f"{path} has two ends called '{twice[0][:80]}': export the model again")
    if filled := sorted(initializers & {*(port.name for port in model.graph.input), *outputs}):
        raise ArtifactError(
            f"{path} has a constant for '{filled[0][:80]}', which is one of its ends: export the model again"
        )
    spec = encoder.spec
    if inputs.keys() != spec.inputs.keys() or not spec.outputs.keys() <= outputs.keys():
        raise ArtifactError(
            f"{path} takes {', '.join(inputs) or 'nothing'} and gives {', '.join(outputs) or 'nothing'}; a "
            f"model for {artifact.task} with this processor takes {', '.join(spec.inputs)} and gives "
            f"{', '.join(spec.outputs)}: export the model again"
        )
    free = spec.length_axis is not None
    whole = _whole_inputs(encoder)
    for name, axes in spec.inputs.items():
        allowed = _WHOLE if name in whole else _FLOATS
        _check_port(path, "input", inputs[name], allowed, len(axes) if free else None, max(axes) + 1)
        _check_free(path, "input", inputs[name], axes)
    width = encoder.head.width
    for name, axes in spec.outputs.items():
        ragged = encoder.links.get(name) == "positions"
        rank = max(axes, default=0) + (1 if ragged else 2)
        _check_port(path, "output", outputs[name], _FLOATS, rank, rank)
        _check_free(path, "output", outputs[name], axes)
        sizes = outputs[name].type.tensor_type.shape.dim
        if sizes and not ragged and sizes[-1].HasField("dim_value") and sizes[-1].dim_value != width:
            raise ArtifactError(
                f"{path}: output '{name}' has {sizes[-1].dim_value} numbers a row, and "
                f"{checkpoint.CONFIG} says {width}: export the model again"
            )
    for name, sizes in facts.limits.items():
        if name not in inputs or not sizes.keys() <= spec.inputs[name].keys():
            raise ArtifactError(
                f"{artifact.path / graph_facts.FILE}: limits names '{name[:80]}' with the axes "
                f"{', '.join(map(str, sizes))}, which no input of the graph has free"
            )


def _whole_inputs(encoder: Encoder) -> frozenset[str]:
    """The inputs that take whole numbers: all of texts; of others those that an encoded row has as such."""
    if sample.has_texts(encoder.task):
        return frozenset(encoder.spec.inputs)
    arrays = sample.batch(encoder.task, encoder.processor, encoder.head).inputs
    return frozenset(name for name, array in arrays.items() if np.issubdtype(array.dtype, np.integer))


def _check_port(
    path: Path,
    side: str,
    value: onnx.ValueInfoProto,
    allowed: frozenset[int],
    rank: int | None,
    at_least: int,
) -> None:
    """Type and rank of one input or output; an output may leave its shape to be inferred."""
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type") or tensor.elem_type not in allowed:
        kinds = onnx.TensorProto.DataType
        kind = kinds.Name(tensor.elem_type) if tensor.elem_type in kinds.values() else tensor.elem_type
        names = ", ".join(sorted(kinds.Name(code) for code in allowed))
        raise ArtifactError(f"{path}: {side} '{value.name[:80]}' is {kind}; allowed: {names}")
    axes = len(tensor.shape.dim)
    if not tensor.HasField("shape"):
        if side == "input":
            raise ArtifactError(f"{path}: input '{value.name[:80]}' has no shape: export the model again")
        return
    if axes < at_least or (rank is not None and axes != rank):
        raise ArtifactError(
            f"{path}: {side} '{value.name[:80]}' has {axes} axes; the task's has {rank or at_least}: export "
            "the model again"
        )


def _check_free(path: Path, side: str, value: onnx.ValueInfoProto, axes: Iterable[int]) -> None:
    """Refuse an end that has one size only on an axis where rows have any."""
    sizes = value.type.tensor_type.shape.dim
    for axis in axes:
        if axis < len(sizes) and sizes[axis].HasField("dim_value"):
            raise ArtifactError(
                f"{path}: axis {axis} of {side} '{value.name[:80]}' is fixed to {sizes[axis].dim_value}, and "
                "the task's rows come in any number and length: export the model again"
            )


def _check_engine(artifact: Artifact) -> None:
    """Hold an engine's passport against the file that the artifact lists."""
    record = passport.read(artifact)
    entry = artifact.manifest.files[artifact.file(passport.ENGINE).name]
    if (record.engine_sha256, record.engine_bytes) != (entry.sha256, entry.bytes):
        raise ArtifactError(
            f"{artifact.path / passport.FILE} is the passport of another engine than {passport.ENGINE}: "
            f"build it again: {record.command()}"
        )


def _check_weights(artifact: Artifact) -> None:
    """Read a torch artifact's shapes, and the tables of contents of its weights."""
    changed: dict[str, list[int]] = {}
    if checkpoint.SHAPES in artifact.manifest.files:
        changed = shapes.read(artifact.file(checkpoint.SHAPES)).parameters
    for name, entry in weight_files.contents(artifact.path).items():
        if name in changed and tuple(changed[name]) != entry.shape:
            raise ModelError(
                f"{artifact.path / checkpoint.SHAPES} does not fit the model: {name} is {changed[name]} "
                f"there and {list(entry.shape)} in {entry.file.name}: build it again"
            )
