"""The state of a training run on disk, so that a killed run goes on where it was.

One safetensors file holds every tensor (model, optimizer, random states), and its header the rest
as JSON, with the SHA-256 of both: a byte that changed on the disk is found before anything is trained from
it. It is written beside the old one, synced and renamed: whole or not at all. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from compress import log
from compress.errors import ModelError, TrainingError
from compress.model import weight_files

_STATE, _SUM = "state", "sha256"


def _checksum(tensors: Mapping[str, torch.Tensor], state: str) -> str:
    """SHA-256 of the state's text and of every tensor's name and bytes."""
    digest = hashlib.sha256(state.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace a checkpoint by a new one, atomically and durably.

    Raises:
        TrainingError: it cannot be written (a full disk, say); the old one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    apart = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    pointers: set[int] = set()
    for name, tensor in apart.items():
        if tensor.data_ptr() in pointers and tensor.numel():
            apart[name] = tensor.clone()  # safetensors refuses tensors that share memory (tied weights)
        pointers.add(tensor.data_ptr())
    text = json.dumps(state)
    try:
        save_file(apart, temporary, metadata={_STATE: text, _SUM: _checksum(apart, text)})
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as cause:
        temporary.unlink(missing_ok=True)
        raise TrainingError(
            f"the training checkpoint {path} cannot be written ({cause}): make room on that disk and "
            "start the same command again; it goes on from the last checkpoint"
        ) from cause


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """The tensors and the state of a checkpoint; None where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        weight_files.table(path)
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
            if _checksum(tensors, metadata[_STATE]) != metadata[_SUM]:
                raise ValueError("its checksum does not fit")
            return tensors, json.loads(metadata[_STATE])
    except (OSError, ModelError, SafetensorError, KeyError, ValueError) as cause:
        log.warning("the checkpoint %s is damaged (%s): training starts anew", path, cause)
        return None
