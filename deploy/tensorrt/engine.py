"""What an open engine says of itself (``trt.ICudaEngine``), and whether it fits into a GPU's memory."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compress.errors import UserError
from deploy.tensorrt.profiles import Profile, Shapes

_TORCH = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
}


_UNITS = {"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}
_SIZE = re.compile(r"(\d+) ?(|B|KiB|MiB|GiB)")


@dataclass(frozen=True)
class Streaming:
    """How the weights of an engine are spread.

    Attributes:
        streamable: bytes that can stay in host memory; 0 where nothing can.
        resident: bytes of these that stay on the device.
    """

    streamable: int = 0
    resident: int = 0

    @property
    def streamed(self) -> int:
        """Bytes that stay in host memory."""
        return self.streamable - self.resident


def bytes_of(size: object) -> int:
    """A size such as ``512MiB``, or a number of bytes.

    Raises:
        ValueError: it is neither.
    """
    match = None if isinstance(size, bool) else _SIZE.fullmatch(str(size))
    if match is None:
        raise ValueError(f"{size!r} is no size: give one such as 512MiB, 2GiB, or a number of bytes")
    return int(match[1]) << _UNITS[match[2]]


def stream(engine: Any, budget: int | None) -> Streaming:
    """Set how much of its weights an engine keeps on the device, and say what it then keeps.

    Must come before the first context, and before scratch memory is asked for, which depends on it.

    Args:
        engine: built with weight streaming.
        budget: bytes; None: as the engine has it, which is everything on the device.
    """
    streamable = int(engine.streamable_weights_size)
    if budget is not None:
        engine.weight_streaming_budget_v2 = min(budget, streamable)
    return Streaming(streamable, min(int(engine.weight_streaming_budget_v2), streamable))


def memory_refusal(
    weights: int,
    scratch: Sequence[int],
    names: Sequence[str],
    *,
    contexts: int,
    free: int,
    total: int,
    resident: int = 0,
) -> str | None:
    """Why an engine does not fit into the free memory of its device, and what would fit; None if it fits.

    Args:
        weights: bytes on the device.
        scratch: bytes that a context needs for each profile.
        names: of the profiles.
        contexts: that were asked for.
        free: bytes on the device.
        total: bytes of the device.
        resident: bytes of the weights that could stay in host memory instead.
    """
    needed = weights + contexts * max(scratch)
    if needed <= free:
        return None
    parts = f"{_mib(weights)} of weights"
    if max(scratch):
        parts += f", {contexts} x {_mib(max(scratch))} of scratch memory"
    sentence = (
        f"too little GPU memory: asked are {_mib(needed)} ({parts}), free are {_mib(free)} of {_mib(total)}"
    )
    room = free - (needed - resident)
    if 0 <= room < resident:
        return f"{sentence}; weights_budget={room >> 20}MiB or less streams the others from host memory"
    fewer = math.floor((free - weights) / max(max(scratch), 1))
    if fewer >= 1 and max(scratch):
        return f"{sentence}; contexts={fewer} would fit"
    smaller = [name for name, size in zip(names, scratch, strict=False) if weights + size <= free]
    if smaller:
        return (
            f"{sentence}; an engine with the profile '{smaller[-1]}' alone would fit: build it with that one"
        )
    return f"{sentence}; nothing of it would fit: free memory, or use a smaller model or a GPU with more"


def _mib(count: int) -> str:
    return f"{count / 2**20:.0f} MiB"


def border(dtype: torch.dtype) -> str:
    """The type of arrays: what tasks give and take, whatever the engine's own type is."""
    if dtype == torch.bool:
        return "bool"
    return "float32" if dtype.is_floating_point else "int64"


def dtype(engine: Any, name: str) -> torch.dtype:
    """The type of an input or output, as the engine states it.

    Raises:
        UserError: arrays have no such type.
    """
    kind = engine.get_tensor_dtype(name).name
    if kind not in _TORCH:
        raise UserError(
            f"the engine's '{name}' is {kind}, which arrays cannot hold: build it with other types"
        )
    return _TORCH[kind]


def profile(engine: Any, inputs: Sequence[str], index: int) -> Profile:
    """One profile as the engine itself states it."""
    shapes = {}
    for name in inputs:
        low, best, high = (tuple(sizes) for sizes in engine.get_tensor_profile_shape(name, index))
        shapes[name] = Shapes(min=low, opt=best, max=high)
    return Profile(axes={}, inputs=shapes)


def scratch(engine: Any, profile: int | None = None) -> int:
    """Bytes of scratch memory that a context needs, for one profile or for any."""
    if profile is not None and hasattr(engine, "get_device_memory_size_for_profile_v2"):
        return int(engine.get_device_memory_size_for_profile_v2(profile))
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    return int(engine.device_memory_size)
