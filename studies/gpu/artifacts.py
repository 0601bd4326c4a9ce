"""Artifacts on the GPU machine: checked, and their weights written where the runtimes look for them.

``prepare`` leaves a folder that is small enough to be carried: graphs without their large tensors, and
those tensors once for all graphs that share them. Here each graph gets its ``weights.bin`` (ONNX external
data), from entries that say how the bytes come about:

- ``stored``: as they lie in ``tensors.npz``;
- ``widened``: stored as FP16, wanted as FP32;
- ``dequantized``: stored as INT8 with a scale for each output channel, wanted as FP32;
- ``normal``, ``integers``: drawn, for models of which only times are taken.

What holds real weights is checked by its sha256 before it is opened, the unpacked file as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import ArtifactError, UserError

SCHEMA = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.npz"
ROWS = "rows.npz"
GRAPH = "model.onnx"
WEIGHTS = "weights.bin"
_BLOCK = 1 << 22


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a folder that ``--prepare`` made, after every file's size and checksum held.

    Raises:
        ArtifactError: something is missing, was changed or is of another schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(
            f"{folder} has no {MANIFEST}: make it on the CPU machine with "
            "python -m studies.gpu --prepare --model DIR --data DIR --out DIR"
        )
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{path} has schema {manifest.get('schema')} and this is schema {SCHEMA}: prepare it again"
        )
    for name, entry in manifest["files"].items():
        file = folder / name
        if folder.resolve() not in file.resolve().parents:
            raise ArtifactError(f"{path} names '{name}', which is outside of the folder")
        if not file.is_file():
            raise ArtifactError(f"{file} is missing: carry the whole folder")
        if file.stat().st_size != entry["bytes"] or sha256(file) != entry["sha256"]:
            raise ArtifactError(f"{file} is not what {MANIFEST} says (size or sha256): carry it again")
    return manifest


def identity(manifest: dict[str, Any]) -> str:
    """A short name of these artifacts: the same files, the same name."""
    listing = json.dumps(manifest["files"], sort_keys=True).encode()
    return hashlib.sha256(listing).hexdigest()[:16]


def rows(folder: Path) -> dict[str, np.ndarray]:
    """Encoded evaluation rows: ``input_ids attention_mask token_type_ids labels reference``."""
    with np.load(folder / ROWS, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def find(manifest: dict[str, Any], model: str, precision: str, typing: str) -> str | None:
    """The name of a graph; FP32 graphs serve either typing."""
    for name, graph in manifest.get("graphs", {}).items():
        fits = graph["typing"] in (typing, "any")
        if graph["model"] == model and graph["precision"] == precision and fits:
            return str(name)
    return None


def scratch() -> Path:
    """Where weights are written; PAREDOWN_ACCEPTANCE_SCRATCH names another place."""
    given = os.environ.get("PAREDOWN_ACCEPTANCE_SCRATCH")
    return Path(given) if given else Path(tempfile.gettempdir()) / f"paredown-acceptance-{os.getuid()}"


def unpacked(manifest: dict[str, Any], folder: Path | None, model: str, precision: str, typing: str) -> Path:
    """The ONNX file of a graph with its weights beside it, written once and checked at each use.

    Raises:
        UserError: there is no such graph.
        ArtifactError: the weights that come out are not those that were prepared.
    """
    name = find(manifest, model, precision, typing) if folder is not None else None
    if folder is None or name is None:
        raise UserError(f"the artifacts hold no {typing} {precision} graph of {model}")
    entry = manifest["graphs"][name]
    home = scratch() / identity(manifest) / name
    weights = home / WEIGHTS
    if not _holds(weights, entry["weights"]):
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(folder / entry["file"], home / GRAPH)
        fresh = home / f".{WEIGHTS}.{os.getpid()}"
        write_weights(fresh, entry["weights"], folder / TENSORS)
        fresh.replace(weights)
        if not _holds(weights, entry["weights"]):
            raise ArtifactError(f"the weights of {name} did not come out as they were prepared")
    if sha256(home / GRAPH) != manifest["files"][entry["file"]]["sha256"]:
        shutil.copyfile(folder / entry["file"], home / GRAPH)
    return home / GRAPH


def _holds(path: Path, wanted: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != wanted["bytes"]:
        return False
    return wanted["sha256"] is None or sha256(path) == wanted["sha256"]


def write_weights(path: Path, wanted: dict[str, Any], tensors: Path) -> None:
    """Write the entries of a graph, each at its offset."""
    draw = np.random.default_rng(0)
    with np.load(tensors, allow_pickle=False) as stored, path.open("wb") as file:
        for entry in wanted["tensors"]:
            file.seek(entry["offset"])
            file.write(np.ascontiguousarray(array_of(entry, stored, draw)).tobytes())
        file.truncate(wanted["bytes"])


def array_of(entry: dict[str, Any], stored: Any, draw: np.random.Generator) -> np.ndarray:
    """One tensor, from how it is said to come about.

    Raises:
        ArtifactError: an unknown way.
    """
    how, shape = entry["how"], tuple(entry["shape"])
    if how == "stored":
        found: np.ndarray = stored[entry["key"]]
    elif how == "widened":
        found = stored[entry["key"]].astype(np.float32)
    elif how == "dequantized":
        found = dequantize(stored[entry["key"]], stored[entry["scale"]], entry["axis"])
    elif how == "normal":
        drawn = draw.standard_normal(shape, dtype=np.float32)
        found = (entry["mean"] + entry["std"] * drawn).astype(entry["dtype"])
    elif how == "integers":
        found = draw.integers(-127, 128, shape, dtype=np.int8)
    else:
        raise ArtifactError(f"the manifest asks for weights that are '{how}', which is not known here")
    return found.reshape(shape)


def dequantize(integers: np.ndarray, scale: np.ndarray, axis: int) -> np.ndarray:
    """Integers times the scale of their channel, float32 of the same shape."""
    shape = [1] * integers.ndim
    shape[axis] = -1
    return integers.astype(np.float32) * scale.astype(np.float32).reshape(shape if scale.ndim else ())
