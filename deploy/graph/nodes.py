"""Reading and writing ONNX graphs: initializers, who makes and who takes a tensor, one data file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from compress.errors import ModelError, first_line
from deploy.graph.facts import MODEL as MODEL

# protobuf cannot hold 2 GiB; what is near it goes to a file of its own.
_PROTOBUF_LIMIT = 2**31 - 2**26
_EXTERNAL_FROM_BYTES = 1024


def load(path: Path) -> onnx.ModelProto:
    """A graph with its weights, external ones included."""
    return onnx.load(str(path))


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all initializers."""
    return sum(
        len(tensor.raw_data) if tensor.HasField("raw_data") else numpy_helper.to_array(tensor).nbytes
        for tensor in model.graph.initializer
    )


def save(model: onnx.ModelProto, folder: Path, external: bool | None = None, *, check: bool = True) -> Path:
    """Write ``model.onnx`` into a folder, with ``model.onnx.data`` beside it where it must or shall be.

    Args:
        model: the graph; it keeps its weights.
        folder: where to.
        external: whether weights go to a file of their own; None: only when protobuf cannot hold them.
        check: whether ONNX's own checker looks at it.

    Returns:
        The file of the graph.
    """
    path = folder / MODEL
    if external is None:
        external = weight_bytes(model) > _PROTOBUF_LIMIT
    if external:
        onnx.save_model(
            model,
            str(path),
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=f"{MODEL}.data",
            size_threshold=_EXTERNAL_FROM_BYTES,
        )
        # Saving moved the weights out of the graph; a copy beforehand would need them in memory twice.
        onnx.external_data_helper.load_external_data_for_model(model, str(folder))
    else:
        onnx.save_model(model, str(path))
    if check:
        onnx.checker.check_model(str(path))
    return path


def opset(model: onnx.ModelProto) -> int:
    """The version of the default domain."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def strip_notes(model: onnx.ModelProto) -> None:
    """Remove documentation and metadata: exporters leave stack traces with local paths there."""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    holders: Iterable[onnx.NodeProto | onnx.ValueInfoProto | onnx.TensorProto] = (
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    )
    for holder in holders:
        holder.doc_string = ""
        del holder.metadata_props[:]


class Index:
    """Who makes a tensor, who takes it, and which tensors are constants; valid until the graph changes."""

    def __init__(self, model: onnx.ModelProto, folder: Path | None = None) -> None:
        """Walk the graph once.

        Args:
            model: the graph.
            folder: where the weights lie, for a graph that was loaded without them.
        """
        graph = model.graph
        self._folder = str(folder or "")
        self.constants: dict[str, onnx.TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self.constants[node.output[0]] = attribute.t
        self.maker: dict[str, onnx.NodeProto] = {
            name: node for node in graph.node for name in node.output if name
        }
        self.takers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                if name:
                    self.takers[name].append(node)
        self.outputs = {output.name for output in graph.output}

    def array(self, name: str) -> np.ndarray:
        """The value of a constant."""
        return numpy_helper.to_array(self.constants[name], self._folder)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a constant."""
        return tuple(self.constants[name].dims)

    def is_float_constant(self, name: str) -> bool:
        """Whether a tensor is a FP32 constant."""
        constant = self.constants.get(name)
        return constant is not None and constant.data_type == onnx.TensorProto.FLOAT


def read_by(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node takes, those that the graphs of a branch or loop take in it among them."""
    names = set(node.input)
    for node_attribute in node.attribute:
        for inner in (node_attribute.g, *node_attribute.graphs):
            names.update(*(read_by(part) for part in inner.node), (output.name for output in inner.output))
    return names


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove initializers that no node takes and no output is."""
    used = {name for node in model.graph.node for name in read_by(node)}
    used |= {output.name for output in model.graph.output}
    # One by one: protobuf copies what is put back, and cannot copy a tensor above its limit.
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name not in used:
            del model.graph.initializer[place]


def drop_dead(model: onnx.ModelProto) -> None:
    """Remove nodes whose outputs nobody takes, then the initializers that only they took."""
    needed = {output.name for output in model.graph.output}
    live: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            live.append(node)
            needed.update(read_by(node))
    if len(live) != len(model.graph.node):
        del model.graph.node[:]
        model.graph.node.extend(reversed(live))
    drop_unused(model)


def attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    """A number among a node's attributes."""
    for entry in node.attribute:
        if entry.name == name:
            return float(onnx.helper.get_attribute_value(entry))
    return default


def set_opset(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """The graph at a version of the default domain or a higher one, by ONNX's own converter.

    Raises:
        ModelError: the weights are above protobuf's limit, which the converter cannot pass, or it knows no
            way for an operator.
    """
    if opset(model) >= version:
        return model
    if weight_bytes(model) > _PROTOBUF_LIMIT:
        raise ModelError(
            f"a graph of more than 2 GB cannot be raised to opset {version}: export it with opset: {version}"
        )
    try:
        return onnx.version_converter.convert_version(model, version)
    except (onnx.version_converter.ConvertError, RuntimeError) as cause:
        raise ModelError(
            f"ONNX's converter cannot raise this graph from opset {opset(model)} to {version} "
            f"({first_line(cause)}): export it with opset: {version}"
        ) from cause
