"""The state of a training run on disk, so that a killed run goes on where it was.

One safetensors file holds every tensor (model, optimizer, random states), and its header the rest
as JSON. It is written beside the old one, synced and renamed: whole or not at all. No pickle.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from compress import log
from compress.errors import TrainingError

if TYPE_CHECKING:
    import torch

_STATE = "state"


def write(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace a checkpoint by a new one, atomically and durably.

    Raises:
        TrainingError: it cannot be written (a full disk, say); the old one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    apart = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    seen: set[int] = set()
    for name, tensor in apart.items():
        if tensor.data_ptr() in seen and tensor.numel():
            apart[name] = tensor.clone()  # safetensors refuses tensors that share memory (tied weights)
        seen.add(tensor.data_ptr())
    try:
        save_file(apart, temporary, metadata={_STATE: json.dumps(state)})
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
        with safe_open(path, framework="pt") as stream:
            state = json.loads((stream.metadata() or {})[_STATE])
            return {name: stream.get_tensor(name) for name in stream.keys()}, state  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as cause:
        log.warning("the checkpoint %s is damaged (%s): training starts anew", path, cause)
        return None
