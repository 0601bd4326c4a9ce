"""A graph whose inner tensors are outputs too, so that a session shows what flows through it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from deploy.checking.parity import Infer


def with_outputs(model: onnx.ModelProto, tensors: Sequence[str]) -> None:
    """Make inner tensors outputs, in place; types and ranks are left to the runtime."""
    names = {output.name for output in model.graph.output}
    for name in tensors:
        if name not in names:
            model.graph.output.append(onnx.ValueInfoProto(name=name))


def real_values(array: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """The values at real positions: [batch, length, ...] without pads; other shapes as they are."""
    if mask is not None and array.ndim >= 3 and array.shape[:2] == mask.shape:
        return array[mask != 0]
    return array


def open_watched(model: onnx.ModelProto, folder: Path, tensors: Sequence[str], threads: int) -> Infer:
    """A session that gives inner tensors as outputs, unoptimized so that all of them still exist.

    Args:
        model: graph whose weights lie in ``folder`` (see ``variants.Base``).
        folder: where the graph is written beside its weights.
        tensors: names.
        threads: of the session.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    with_outputs(watched, tensors)
    path = folder / "watched.onnx"
    path.write_bytes(watched.SerializeToString())
    return infer_with(open_session(path, threads=threads, optimize=False))
