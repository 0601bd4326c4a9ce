"""A runtime without a model, for lanes: it counts good and bad words of ``tiny``'s vocabulary."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.errors import UserError
from deploy.node_time import NodeTime
from deploy.runtimes import DeviceMemory, DeviceTimes, TensorSpec
from deploy.runtimes import Runner as Base

GOOD = range(5, 11)
BAD = range(11, 17)


class Runner(Base):
    """Logits from word counts; options make it wrong, loud, broken or dead."""

    ACCEPTS = frozenset({"torch", "onnx"})

    @classmethod
    def unavailable(cls, device: str = "cpu") -> str | None:
        """It runs everywhere but on the device 'cuda:7'."""
        return "there is no seventh device here: use --device cpu" if device == "cuda:7" else None

    def configure(
        self,
        *,
        wrong: float = 0.0,
        work: int = 0,
        die_at: int = -1,
        say: str = "",
        fail: str = "",
        nan: bool = False,
        threads_in_provenance: bool = False,
        graphs: tuple[bool, ...] | list[bool] = (),
        full: bool = False,
        **options: Any,
    ) -> None:
        """Take the options that tests steer it with."""
        super().configure(**options)
        self._wrong, self._work, self._die_at = wrong, work, die_at
        self._say, self._fail, self._nan = say, fail, nan
        self._graphs, self._full = tuple(graphs), full
        self._prepared: set[tuple[int, ...]] = set()
        self._runs = 0

    def open(self) -> None:
        """Say something on stdout, where a library might."""
        if self._say:
            sys.stdout.write(self._say)
            sys.stdout.flush()
            os.write(1, self._say.encode())
        if self._fail == "open":
            raise ZeroDivisionError("planted")

    def close(self) -> None:
        """Nothing to let go of."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Ids and mask, at most 64 tokens."""
        shape = (None, None)
        return tuple(TensorSpec(name, "int64", shape, ((1, 64),)) for name in ("input_ids", "attention_mask"))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Two logits."""
        return (TensorSpec("logits", "float32", (None, 2)),)

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Good words for class 1, bad words for class 0; every so many rows wrong where asked."""
        self._runs += 1
        if self._runs == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fail == "run":
            raise ZeroDivisionError("planted")
        if self._fail == "refuse":
            raise UserError("the batch is beyond what was exported")
        ids = feed["input_ids"] * feed["attention_mask"]
        for _ in range(self._work):
            np.sort(np.arange(2000)[::-1])
        good, bad = np.isin(ids, GOOD).sum(axis=1), np.isin(ids, BAD).sum(axis=1)
        logits = np.stack([bad, good], axis=1).astype(np.float32)
        flip = (ids.sum(axis=1) * 2654435761 % 1000) < 1000 * self._wrong
        logits[flip] = logits[flip][:, ::-1]
        return {"logits": logits * np.float32(np.nan) if self._nan else logits}

    def prepare(self, feed: Mapping[str, np.ndarray]) -> None:
        """Remember the shape; the memory of a full GPU ends at four rows."""
        if self._full and len(feed["input_ids"]) > 4:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")
        self._prepared.add(feed["input_ids"].shape)

    def graph_choices(self) -> tuple[bool, ...]:
        """As it was told."""
        return self._graphs

    def device_times(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> DeviceTimes:
        """Half the time with a graph; enqueuing takes longer than the GPU without one."""
        if feed["input_ids"].shape not in self._prepared:
            raise AssertionError("a shape was timed that was not prepared")
        rows = len(feed["input_ids"])
        return DeviceTimes(gpu_ms=rows * (0.5 if graph else 1.0), enqueue_ms=rows * (0.05 if graph else 0.9))

    def end_to_end_ms(self, feed: Mapping[str, np.ndarray], *, graph: bool) -> float:
        """More than the GPU alone."""
        return 2.0 * len(feed["input_ids"])

    def device_memory(self) -> DeviceMemory | None:
        """Fixed figures where there is a device."""
        return DeviceMemory(weights=600, activations=300) if self._graphs else None

    def nodes(self, feeds: Sequence[Mapping[str, np.ndarray]]) -> list[NodeTime]:
        """A product in INT8, another in FP32, and a norm."""
        return [
            NodeTime("a", "MatMulInteger", "fake", "int8", True, 60.0),
            NodeTime("b", "MatMul", "fake", "fp32", True, 20.0),
            NodeTime("c", "LayerNormalization", "other", "fp32", False, 20.0),
        ]

    def provenance(self) -> dict[str, str]:
        """Itself, and the thread variable that it sees."""
        return {"provider": "fake", "threads": os.environ.get("OMP_NUM_THREADS", "")}


class Wrong(Runner):
    """The same for ONNX artifacts, wrong on three rows of ten."""

    def configure(self, *, wrong: float = 0.3, **options: Any) -> None:
        """Be wrong."""
        super().configure(wrong=wrong, **options)
