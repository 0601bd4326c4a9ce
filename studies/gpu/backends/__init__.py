"""Backends: a file each, named so that none can shadow the library that it wraps.

Each module defines ``missing(device, precision)`` (why it cannot run here, or None) and a class
``Opened`` with the attributes below. They import their library when they are asked for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from studies.gpu import timing
from studies.gpu.plan import Shape, Sizes

NAMES = ("eager", "sdpa", "compiled", "ort", "trt")
Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """What a backend opens.

    Attributes:
        name: of the model.
        sizes: for backends that build the model themselves; None for a model that is only a file.
        folder: where artifacts were unpacked; None where none were given.
        manifest: of the artifacts.
    """

    name: str
    sizes: Sizes | None
    folder: Path | None
    manifest: dict[str, Any]

    def graph(self, precision: str, typing: str) -> Path:
        """The ONNX file of this model, unpacked and checked.

        Raises:
            UserError: the artifacts hold none.
        """
        from studies.gpu import artifacts

        return artifacts.unpacked(self.manifest, self.folder, self.name, precision, typing)


class Run(timing.Session, Protocol):
    """An open shape; also gives its outputs, after ``fetch`` and ``synchronize``."""

    def outputs(self) -> np.ndarray:
        """Logits, [batch, labels] as float32."""
        ...

    def close(self) -> None:
        """Give buffers and graph back, so that the next shape finds the memory; twice does no harm."""
        ...


class Opened(Protocol):
    """A model in a backend.

    Attributes:
        graphs: ways of launching: without and with a CUDA graph, as far as there are two.
        clock: takes times on this device.
    """

    graphs: tuple[bool, ...]
    clock: timing.Clock

    def session(self, shape: Shape, feeds: Sequence[Feed], graph: bool) -> Run:
        """Open a shape with its input sets, all of that shape."""
        ...

    def memory(self) -> dict[str, int | None]:
        """``file_bytes``, ``weights_bytes`` and ``activations_bytes``, as far as the backend knows them."""
        ...

    def facts(self) -> dict[str, Any]:
        """What really runs."""
        ...


def load(name: str) -> ModuleType:
    """A backend's module."""
    if name not in NAMES:
        raise ValueError(f"no backend '{name}': there are {', '.join(NAMES)}")
    return importlib.import_module(f"studies.gpu.backends.{name}")


def feeds(shape: Shape, vocabulary: int, count: int = 4, seed: int = 0) -> list[Feed]:
    """Input sets of one shape: drawn token ids, no padding (stated in the record)."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = draw.integers(min(1000, vocabulary // 2), vocabulary, (shape.batch, shape.length))
        made.append(
            {
                "input_ids": ids.astype(np.int64),
                "attention_mask": np.ones((shape.batch, shape.length), np.int64),
                "token_type_ids": np.zeros((shape.batch, shape.length), np.int64),
            }
        )
    return made
