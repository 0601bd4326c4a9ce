"""Whether the tensors of an ONNX graph hold what their shapes say, and lie inside their artifact.

ONNX lets a tensor lie in a file of any name: ``../secret``, ``/dev/zero``, a link, a place beyond the end of
a file. Whoever opens such a graph reads what its author chose. Here every tensor of a graph is looked at
(initializers, attributes, subgraphs, functions) before any library opens it, and only a listed plain file of
the artifact is accepted. Nothing of the data itself is read.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import onnx

from compress.errors import ArtifactError

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


def check(artifact: Artifact, model: onnx.ModelProto, where: str) -> None:
    """Look at every tensor of a graph.

    Args:
        artifact: whose graph it is.
        model: loaded without external data.
        where: the graph's file, for messages.

    Raises:
        ArtifactError: a tensor has an absurd shape, holds more or less than its shape says, or lies outside
            the artifact's files.
    """
    for tensor in tensors(model):
        what = f"{where}: the tensor '{tensor.name[:80]}'"
        elements = _elements(tensor, what)
        wanted = _bytes(tensor, elements)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_external(artifact, tensor, wanted, what)
        else:
            _check_internal(tensor, elements, wanted, what)


def _elements(tensor: onnx.TensorProto, what: str) -> int:
    elements = math.prod(tensor.dims)
    if any(size < 0 for size in tensor.dims) or elements > LARGEST_ELEMENTS:
        shape = " x ".join(map(str, list(tensor.dims)[:8]))
        raise ArtifactError(f"{what} has the shape {shape}, which no tensor has: export the model again")
    known = onnx.TensorProto.DataType.values()
    if tensor.data_type not in known or tensor.data_type == onnx.TensorProto.UNDEFINED:
        raise ArtifactError(f"{what} has a type that ONNX does not know ({tensor.data_type})")
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


def _check_internal(tensor: onnx.TensorProto, elements: int, wanted: int | None, what: str) -> None:
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != wanted:
            raise ArtifactError(
                f"{what} holds {len(tensor.raw_data)} bytes and its shape {list(tensor.dims)} asks for "
                f"{wanted}: export the model again"
            )
        return
    field, entries = _FIELDS.get(tensor.data_type, ("int32_data", 1))
    count = len(getattr(tensor, field))
    packed = wanted is not None and wanted < elements and count == wanted
    if count != elements * entries and not packed:
        raise ArtifactError(
            f"{what} holds {count} numbers and its shape {list(tensor.dims)} asks for {elements * entries}: "
            "export the model again"
        )


def _check_external(artifact: Artifact, tensor: onnx.TensorProto, wanted: int | None, what: str) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    if len(entries) != len(tensor.external_data):
        raise ArtifactError(f"{what} names its place twice: export the model again")
    location = entries.get("location", "")
    name = posixpath.normpath(location)
    outside = posixpath.isabs(location) or ".." in name.split("/") or "\\" in location
    if outside or name not in artifact.manifest.files:
        raise ArtifactError(
            f"{what} lies in {location[:200]!r}, which is no file of the artifact: external data must be a "
            "plain file that the artifact lists. Export the model again"
        )
    size = artifact.file(name).stat().st_size
    offset, length = (_number(entries, key, what) for key in ("offset", "length"))
    begin = offset or 0
    held = size - begin if length is None else length
    if wanted is None or begin + held > size or held < wanted or (length is not None and length != wanted):
        raise ArtifactError(
            f"{what} is at byte {begin} of {name} with {'the rest' if length is None else length} bytes; the "
            f"file has {size}, and its shape {list(tensor.dims)} asks for {wanted}: export the model again"
        )


def _number(entries: dict[str, str], key: str, what: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ArtifactError(f"{what} has the {key} {text[:40]!r}, which is no number of bytes")
    return int(text)
