"""The safetensors files of a folder: their tables of contents, held against the files before anything loads.

A safetensors file is eight bytes (how long its header is), the header (JSON: a tensor's name to its type,
shape and place), and the tensors' bytes without a gap. Shards come with an index that says which of them
holds which tensor. Both are input: every place that opens such a file has it looked at here first, so that
what does not hold together is one sentence with file and tensor, whoever would have stumbled over it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.articles import with_article
from compress.errors import ModelError
from compress.model import links
from compress.reading import files as reading
from compress.reading import json_values, utf8
from compress.tasks import _embedding as embedding
from compress.tasks import _setfit as setfit

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_METADATA = "__metadata__"
_LENGTH = 8  # bytes that say how long the header is
_LONGEST = 100 * 2**20  # bytes of a header, as safetensors itself has it
_MOST_AXES = 16
_MOST_NUMBERS = 2**62  # of a tensor; also one that holds none has strides
_WIDTHS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
"""Bytes of a number, by the name that safetensors has for its type; those that PyTorch has as well."""
_REMEDY = "get the folder again"


@dataclass(frozen=True)
class Entry:
    """What a file says of a tensor.

    Attributes:
        file: that holds it.
        dtype: the name that safetensors has for its type, such as ``F32``.
        shape: of the tensor.
    """

    file: Path
    dtype: str
    shape: tuple[int, ...]

    @property
    def floating(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.startswith(("F", "BF"))


def contents(folder: Path) -> dict[str, Entry]:
    """Every tensor of a folder's weights by name, from the tables of contents alone.

    Raises:
        ModelError: there are no weights, a file is damaged, or index and shards do not fit together.
    """
    return {**_stored(embedding.encoder_folder(folder)), **beside(folder)}


def _stored(folder: Path) -> dict[str, Entry]:
    """Every tensor of the weights that lie in a folder itself."""
    if reading.exists(folder / WEIGHTS, error=ModelError):
        return table(folder / WEIGHTS)
    if not reading.exists(folder / INDEX, error=ModelError):
        raise ModelError(f"{folder} holds no weights: expected {WEIGHTS}, or {INDEX} with its shards")
    places = _index(folder)
    entries: dict[str, Entry] = {}
    for shard in sorted(set(places.values())):
        for name, entry in table(folder / shard).items():
            if name in entries:
                raise ModelError(
                    f"{folder}: both {entries[name].file.name} and {shard} hold the tensor {_shown(name)}: "
                    f"{_REMEDY}"
                )
            entries[name] = entry
    for name, shard in places.items():
        if name not in entries or entries[name].file.name != shard:
            raise ModelError(
                f"{folder / INDEX} says that {shard} holds the tensor {_shown(name)}, which it does not: "
                f"{_REMEDY}"
            )
    return entries


def beside(folder: Path) -> dict[str, Entry]:
    """The tensors that lie beside the encoder of a sentence-transformers folder, by our name.

    They are those of its dense layers, and of a SetFit folder's classifier where it is safe to read.

    Raises:
        ModelError: a file is damaged, or holds something else than one linear layer.
    """
    if not embedding.is_modular(folder):
        return {}
    entries: dict[str, Entry] = {}
    parts = embedding.modules(folder)
    for number, file in parts.dense.items():
        layer = parts.description.after[number]
        stored = table(file)
        names = {"linear.weight"} | (
            {"linear.bias"} if isinstance(layer, embedding.Dense) and layer.bias else set()
        )
        if stored.keys() != names:
            raise ModelError(
                f"{file} holds {', '.join(stored)}, and a dense layer has {', '.join(sorted(names))}"
            )
        entries |= {_our_name(number, name): entry for name, entry in stored.items()}
    if _has_classifier(folder):
        head, stored = _classifier(folder)
        shapes = head.shapes({name: entry.shape for name, entry in stored.items()})
        dtype = stored[setfit.COEFFICIENTS].dtype
        entries |= {name: Entry(folder / setfit.WEIGHTS, dtype, shape) for name, shape in shapes.items()}
    return entries


def read_beside(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that ``beside`` lists."""
    parts = embedding.modules(folder)
    tensors = {
        _our_name(number, name): tensor
        for number, file in parts.dense.items()
        for name, tensor in read_file(file).items()
    }
    if _has_classifier(folder):
        tensors |= classifier(folder).folded(read_file(folder / setfit.WEIGHTS))
    return tensors


def classifier(folder: Path) -> setfit.Classifier:
    """The classifier of a SetFit folder, from the one file of it that is safe to read.

    Raises:
        ModelError: there is no such file, it is damaged, or what it holds does not fit.
    """
    if not _has_classifier(folder):
        raise setfit.refusal(folder)
    return _classifier(folder)[0]


def _has_classifier(folder: Path) -> bool:
    return setfit.is_folder(folder) and reading.exists(folder / setfit.WEIGHTS, error=ModelError)


def _classifier(folder: Path) -> tuple[setfit.Classifier, dict[str, Entry]]:
    file = folder / setfit.WEIGHTS
    stored, notes = _read_table(file)
    integral = next((name for name, entry in stored.items() if not entry.floating), None)
    if integral is not None:
        raise ModelError(
            f"{file}: {_shown(integral)} holds whole numbers, and a classifier has others: {_REMEDY}"
        )
    content = embedding.configuration(folder) or {}
    size = embedding.described(content).size(embedding.width(content))
    shapes = {name: entry.shape for name, entry in stored.items()}
    return setfit.read(folder, notes.get(setfit.NOTE), shapes, size), stored


def _our_name(number: int, name: str) -> str:
    return embedding.dense_name(number) + name.removeprefix("linear.")


def files(folder: Path) -> list[Path]:
    """The files that hold a folder's own weights: one, or the shards that the index lists.

    Raises:
        ModelError: as ``contents`` does.
    """
    return sorted({entry.file for entry in _stored(folder).values()})


def read(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's weights, by name.

    Raises:
        ModelError: as ``contents`` does.
    """
    weights: dict[str, torch.Tensor] = {}
    for file in files(folder):
        weights.update(_loaded(file))
    return weights


def read_file(file: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a safetensors file, by name.

    Raises:
        ModelError: it is none, or damaged.
    """
    table(file)
    return _loaded(file)


def _loaded(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file that was looked at already."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(file))
    except SafetensorError as cause:
        raise _damaged(file, str(cause)) from cause


def table(file: Path) -> dict[str, Entry]:
    """What a safetensors file says that it holds, after it was held against the file itself.

    Raises:
        ModelError: it is no regular file, its header is none, or tensors lie elsewhere than it says.
    """
    return _read_table(file)[0]


def _read_table(file: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors that a safetensors file says that it holds, and its notes by name."""
    with reading.opened(file, error=ModelError) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size < _LENGTH:
            raise _damaged(file, f"it has {size} bytes, and its header alone needs more")
        length = int.from_bytes(stream.read(_LENGTH), "little")
        if length > _LONGEST:
            raise _damaged(file, f"its header would be {length:,} bytes long, and {_LONGEST:,} are the most")
        if length > size - _LENGTH:
            raise _damaged(file, f"its header would be {length:,} bytes long, and the file has {size:,}")
        header = stream.read(length)
    content, notes = _header(file, header)
    entries: dict[str, Entry] = {}
    places: list[tuple[int, int, str]] = []
    for name, value in content.items():
        entries[name], (start, end) = _entry(file, name, value)
        places.append((start, end, name))
    _check_places(file, places, size - _LENGTH - length)
    if not entries:
        raise ModelError(f"{file} holds no weights: {_REMEDY}")
    return entries, notes


def check_fit(
    entries: Mapping[str, Entry], targets: Mapping[str, torch.Tensor], base: str, kind: str, remedy: str
) -> None:
    """Hold what weight files say against what a configuration builds, before a byte of it is loaded.

    Names on one side only are for whoever loads: older files call some weights otherwise.

    Args:
        entries: of the files.
        targets: of the model, by name; their values are not looked at.
        base: what an encoder's own folder leaves out of its names, such as ``bert.``.
        kind: of the model, for messages.
        remedy: what a sentence about a shape ends in.

    Raises:
        ModelError: a tensor has another shape, or holds whole numbers in place of floating-point ones.
    """
    for name, entry in entries.items():
        target = targets[name] if name in targets else targets.get(base + name)
        if target is None:
            continue
        if entry.shape != tuple(target.shape):
            raise ModelError(
                f"{entry.file}: {_shown(name)} has the shape {list(entry.shape)}, and the configuration asks "
                f"for {list(target.shape)} ({with_article(kind)}): {remedy}"
            )
        if target.is_floating_point() and not entry.floating:
            raise ModelError(
                f"{entry.file}: {_shown(name)} holds numbers of the type {entry.dtype}, and "
                f"{with_article(kind)} has floating-point numbers there: {_REMEDY}"
            )


def _header(file: Path, header: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """The tensors of a header, unread, and its notes."""
    try:
        written = header.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise _damaged(file, "its header is not UTF-8") from cause
    content = json_values.parse(written, f"{file} is damaged, its header", error=ModelError)
    if not isinstance(content, dict):
        raise _damaged(file, "its header is no JSON object")
    notes = content.pop(_METADATA, {})
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise _damaged(file, f"{_METADATA} in its header is no table of texts")
    return content, notes


def _entry(file: Path, name: str, value: Any) -> tuple[Entry, tuple[int, int]]:
    """What a header says of a tensor, and the bytes from and to which it lies."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(
            file, f"its header gives {_shown(name)} something else than dtype, shape, data_offsets"
        )
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _WIDTHS:
        allowed = ", ".join(_WIDTHS)
        raise _damaged(file, f"{_shown(name)} is of the type {_shown(str(dtype))}, allowed are {allowed}")
    if not _whole(shape) or len(shape) > _MOST_AXES or math.prod(max(1, n) for n in shape) > _MOST_NUMBERS:
        raise _damaged(file, f"{_shown(name)} has the shape {_shown(str(shape))}, which no tensor has")
    if not _whole(place) or len(place) != 2:
        raise _damaged(file, f"{_shown(name)} lies at {_shown(str(place))}, which is no first and last byte")
    start, end = place
    needed = math.prod(shape) * _WIDTHS[dtype]
    if end - start != needed:
        takes = f"{dtype} of the shape {shape} takes {needed:,} bytes"
        raise _damaged(file, f"{_shown(name)} lies at {start} to {end}, and {takes}")
    return Entry(file, dtype, tuple(shape)), (start, end)


def _check_places(file: Path, places: list[tuple[int, int, str]], size: int) -> None:
    """Refuse tensors that overlap, leave a gap, or do not end where the file does."""
    reached, before = 0, "the header"
    for start, end, name in sorted(places):
        if start != reached:
            fault = "overlap" if start < reached else "leave a gap"
            raise _damaged(
                file, f"{before} and {_shown(name)} {fault}: byte {start} does not follow {reached}"
            )
        reached, before = end, _shown(name)
    if reached != size:
        raise _damaged(file, f"its tensors take {reached:,} bytes, and {size:,} follow the header")


def _whole(numbers: Any) -> bool:
    """Whether something is a list of whole numbers from 0."""
    return isinstance(numbers, list) and all(
        isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers
    )


def _index(folder: Path) -> dict[str, str]:
    """Which shard holds which tensor, as the index says; each shard is a file of the folder."""
    index = folder / INDEX
    content = json_values.read(index, limit=max(utf8.LIMIT, _LONGEST), error=ModelError)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ModelError(f"{index} is damaged (weight_map is no table from tensors to files): {_REMEDY}")
    if not places:
        raise ModelError(f"{index} is damaged (its weight_map names no tensor): {_REMEDY}")
    for shard in sorted(set(places.values())):
        _check_shard(folder, shard)
    return places


def _check_shard(folder: Path, shard: str) -> None:
    """Refuse a shard that is not in the folder, by its name or by a link.

    In a cache of the hub every file is a link to where the contents of all revisions lie.
    """
    named = f"{folder / INDEX} names the shard {_shown(shard)}"
    if shard in ("", ".", "..") or "/" in shard or "\\" in shard or "\0" in shard:
        raise ModelError(f"{named}, and a shard is a file of the same folder: {_REMEDY}")
    file = folder / shard
    if not reading.exists(file, error=ModelError) and not file.is_symlink():
        raise ModelError(f"{named}, which is not in {folder}: {_REMEDY}")
    reading.check(file, error=ModelError)
    if (target := links.outside(file, folder)) is not None:
        raise ModelError(f"{named}, a link to {target}, outside of the folder: put the file itself there")


def _shown(text: str) -> str:
    return reading.printable(text if len(text) <= 80 else f"{text[:77]}...")


def _damaged(file: Path, reason: str) -> ModelError:
    return ModelError(f"{file} is damaged ({reason}): {_REMEDY}")
