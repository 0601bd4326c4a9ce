"""Whether the tensors of an ONNX graph hold what their shapes say, and lie inside their artifact.

ONNX lets a tensor lie in a file of any name: ``../secret``, ``/dev/zero``, a link, a place beyond the end of
a file. Whoever opens such a graph reads what its author chose. Here every tensor of a graph is looked at
(initializers, attributes, subgraphs, functions) before any library opens it, and only a listed plain file of
the artifact is accepted. The files of such data are read for what is no number in them, and hold nothing that
is no tensor's.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from compress.errors import ArtifactError
from deploy.checking import finite
from deploy.graph import facts as graph_facts

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

# No tensor of a model is larger: it is a shape that somebody made up.
LARGEST_ELEMENTS = 2**40
_BITS = {"4": 4, "2": 2}
_TYPES = onnx.TensorProto
# Where the numbers of a type lie when they are not raw bytes, and how many entries a number takes there.
_FIELDS = {
    _TYPES.FLOAT: ("float_data", 1),
    _TYPES.COMPLEX64: ("float_data", 2),
    _TYPES.DOUBLE: ("double_data", 1),
    _TYPES.COMPLEX128: ("double_data", 2),
    _TYPES.INT64: ("int64_data", 1),
    _TYPES.UINT32: ("uint64_data", 1),
    _TYPES.UINT64: ("uint64_data", 1),
    _TYPES.STRING: ("string_data", 1),
}

_PLACE = frozenset({"location", "offset", "length"})
# Writers begin a tensor on a page of memory, which is 64 KiB at most.
_PAGE = 2**16
# Their inputs but the first are weights: numbers, and no mask.
_WEIGHTED = frozenset(
    {"MatMul", "Gemm", "Conv", "LayerNormalization", "BatchNormalization", "DequantizeLinear"}
)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a file: its bytes from ``begin`` to ``end``."""

    begin: int
    end: int
    what: str


def tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Every tensor below a message of ONNX's format, wherever it stands."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if repeats(field) else (value,):
                yield from tensors(part)


def repeats(field: Any) -> bool:
    """Whether a field of a message holds a list."""
    repeated = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)


def check(artifact: Artifact, model: onnx.ModelProto, graph_file: str) -> None:
    """Look at every tensor of a graph.

    Args:
        artifact: whose graph it is.
        model: loaded without external data.
        graph_file: the graph's file, for messages.

    Raises:
        ArtifactError: a tensor has an absurd shape, holds more or less than its shape says or what is no
            number, or lies outside the artifact's files.
    """
    weights = {
        name for node in model.graph.node if node.op_type in _WEIGHTED for name in node.input[1:] if name
    }
    places: dict[str, list[_Place]] = {}
    for tensor in tensors(model):
        lead = f"{graph_file}: the tensor '{tensor.name[:80]}'"
        elements = _elements(tensor, lead)
        nbytes = _bytes(tensor, elements)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            name, place = _external(artifact, tensor, nbytes, lead)
            places.setdefault(name, []).append(place)
            data: Any = (
                np.memmap(artifact.file(name), np.uint8, "r")[place.begin : place.end] if nbytes else b""
            )
        else:
            data = _internal(tensor, elements, nbytes, lead)
        _check_numbers(tensor, data, elements, weights, lead)
    _check_files(artifact, places)


def _check_numbers(tensor: onnx.TensorProto, data: Any, elements: int, weights: Set[str], lead: str) -> None:
    """Refuse NaN, and infinities where they are no mask: in weights, and positive ones among several."""
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind not in finite.FORMATS or elements == 0:
        return
    lacking = finite.lacking(data, kind)
    mask = lacking == "-infinity" or (lacking == "infinity" and elements == 1)
    if lacking is not None and not (mask and tensor.name not in weights):
        raise ArtifactError(f"{lead} holds {lacking}, which is no weight: export the model again")


def _check_files(artifact: Artifact, places: dict[str, list[_Place]]) -> None:
    """Refuse data files with bytes of two tensors, or of none."""
    beside = {name for name in artifact.manifest.files if name.startswith(f"{graph_facts.MODEL}.")}
    for name in sorted(beside - places.keys()):
        raise ArtifactError(
            f"{artifact.path / name} holds no tensor of the graph: an artifact has no other files than its "
            "own. Export the model again"
        )
    for name, extents in places.items():
        end = 0
        for place in sorted(extents, key=lambda place: (place.begin, place.end)):
            if place.begin < end:
                raise ArtifactError(
                    f"{place.what} is at byte {place.begin} of {name}, where another tensor lies: export the "
                    "model again"
                )
            _check_gap(name, end, place.begin, place.what)
            end = place.end
        _check_gap(name, end, artifact.file(name).stat().st_size, str(artifact.path / graph_facts.MODEL))


def _check_gap(name: str, end: int, begin: int, lead: str) -> None:
    if begin - end >= _PAGE:
        raise ArtifactError(
            f"{lead}: the bytes {end} to {begin} of {name} are of no tensor: export the model again"
        )


def _elements(tensor: onnx.TensorProto, lead: str) -> int:
    elements = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims) or elements > LARGEST_ELEMENTS:
        shape = " x ".join(map(str, list(tensor.dims)[:8]))
        raise ArtifactError(f"{lead} has the shape {shape}, which no tensor has: export the model again")
    types = onnx.TensorProto.DataType.values()
    if tensor.data_type not in types or tensor.data_type == onnx.TensorProto.UNDEFINED:
        raise ArtifactError(f"{lead} has a type that ONNX does not know ({tensor.data_type})")
    return elements


def _bytes(tensor: onnx.TensorProto, elements: int) -> int | None:
    """Bytes of a tensor's raw data; None for strings, which have none."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return None
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    for size, bits in _BITS.items():
        if name.startswith((f"INT{size}", f"UINT{size}", f"FLOAT{size}")) and not name[-2:].isdigit():
            return (elements * bits + 7) // 8
    return elements * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _internal(tensor: onnx.TensorProto, elements: int, nbytes: int | None, lead: str) -> Any:
    """The numbers of a tensor that lie in the graph, as raw data or as an array of their type."""
    if tensor.HasField("raw_data"):
        data = tensor.raw_data
        if len(data) != nbytes:
            raise ArtifactError(
                f"{lead} holds {len(data)} bytes and its shape {list(tensor.dims)} asks for "
                f"{nbytes}: export the model again"
            )
        return data
    field, entries = _FIELDS.get(tensor.data_type, ("int32_data", 1))
    listed = getattr(tensor, field)
    packed = nbytes is not None and nbytes < elements and len(listed) == nbytes
    if len(listed) != elements * entries and not packed:
        raise ArtifactError(
            f"{lead} holds {len(listed)} numbers and its shape {list(tensor.dims)} asks for "
            f"{elements * entries}: export the model again"
        )
    if field in ("float_data", "double_data"):
        return np.asarray(listed, "<f4" if field == "float_data" else "<f8").tobytes()
    kind = finite.FORMATS.get(onnx.TensorProto.DataType.Name(tensor.data_type))
    return np.asarray(listed).astype(kind.bits).tobytes() if kind is not None else b""


def _external(
    artifact: Artifact, tensor: onnx.TensorProto, nbytes: int | None, lead: str
) -> tuple[str, _Place]:
    """The file in which a tensor lies, and where."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise ArtifactError(f"{lead} names its place twice: export the model again")
    if more := sorted(entries.keys() - _PLACE):
        raise ArtifactError(
            f"{lead} says '{more[0][:80]}' of its place; allowed: {', '.join(sorted(_PLACE))}. Export "
            "the model again"
        )
    if tensor.HasField("raw_data"):
        raise ArtifactError(f"{lead} holds numbers in the graph and names a file too: export the model again")
    location = entries.get("location", "")
    name = posixpath.normpath(location)
    outside = posixpath.isabs(location) or ".." in name.split("/") or "\\" in location
    if outside or not name.startswith(f"{graph_facts.MODEL}.") or name not in artifact.manifest.files:
        raise ArtifactError(
            f"{lead} lies in {location[:200]!r}, which is no file of the artifact for it: external data must "
            f"be in a plain file that the artifact lists, such as {graph_facts.MODEL}.data. Export the model "
            "again"
        )
    size = artifact.file(name).stat().st_size
    offset, length = (_number(entries, key, lead) for key in ("offset", "length"))
    begin = offset or 0
    available = size - begin if length is None else length
    if (
        nbytes is None
        or begin + available > size
        or available < nbytes
        or (length is not None and length != nbytes)
    ):
        raise ArtifactError(
            f"{lead} is at byte {begin} of {name} with {'the rest' if length is None else length} bytes; the "
            f"file has {size}, and its shape {list(tensor.dims)} asks for {nbytes}: export the model again"
        )
    return name, _Place(begin, begin + nbytes, lead)


def _number(entries: dict[str, str], key: str, lead: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ArtifactError(f"{lead} has the {key} {text[:40]!r}, which is no number of bytes")
    return int(text)
