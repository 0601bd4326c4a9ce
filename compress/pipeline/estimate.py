"""How long a stage will take and how much disk it needs, before it runs.

Where the store holds earlier results of the same stage, their recorded seconds, scaled by the passes over
the rows, are the basis; else the arithmetic that training does at the speed that this machine shows now (six
operations a parameter, token and pass: two forward, four backward). Either is an estimate and says on what
it rests; without rows or weights to count there is none.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from time import perf_counter
from typing import Any

from compress.artifacts.artifact import Artifact, Manifest
from compress.artifacts.store import Store
from compress.stage import StageConfig


@dataclass(frozen=True)
class Guess:
    """An estimate.

    Attributes:
        seconds: None where nothing is known.
        bytes: None where nothing is known.
        basis: where the figures come from, for the reader.
    """

    seconds: float | None
    bytes: int | None
    basis: str


NOTHING = Guess(seconds=0.0, bytes=0, basis="in the store")


@dataclass(frozen=True)
class Workload:
    """What there is to compute, as far as it is known beforehand.

    Attributes:
        parameters: of the model that comes in, embeddings included; None where there is no file to count.
        rows: training rows; None without data.
        tokens: words of a row on average; None where rows are not text.
        bytes: of the model's weights.
    """

    parameters: int | None
    rows: int | None
    tokens: float | None
    bytes: int | None


def training_seconds(workload: Workload, passes: float, operations_per_s: float) -> float | None:
    """Seconds of training by its arithmetic: 6 x parameters x tokens x rows x passes / speed, where known."""
    if workload.parameters is None or workload.rows is None or workload.tokens is None:
        return None
    return 6.0 * workload.parameters * workload.tokens * workload.rows * passes / operations_per_s


@cache
def operations_per_s() -> float:
    """Floating-point operations a second of an FP32 matrix product: the fastest of those of 0.1 s.

    The fastest, since what else runs now need not run along with the training.
    """
    import torch

    side = 512
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(side, side, generator=generator)
    began, fastest = perf_counter(), float("inf")
    while (started := perf_counter()) - began < 0.1:
        matrix @ matrix
        fastest = min(fastest, perf_counter() - started)
    return 2.0 * side**3 / fastest


def effort(config: dict[str, Any], rows: int | None = None) -> float:
    """How many passes over the training rows an option set asks for; at least one where it does not train.

    A control run makes them again, and both R-Drop and adversarial training pass twice through each batch.

    Args:
        config: of a stage.
        rows: that it trains on, which turns ``steps`` into passes.
    """
    for options in (config, config.get("training") or {}, config.get("recover") or {}):
        if options.get("steps") and rows:
            passes = options["steps"] * options.get("batch_size", 1) / rows
            break
        if options.get("epochs"):
            passes = float(options["epochs"])
            break
    else:
        passes = 1.0
    return passes * math.prod(2.0 for option in ("control", "rdrop", "adversarial") if config.get(option))


def _rows(manifest: Manifest) -> int | None:
    """Training rows that an earlier run had."""
    counted = (manifest.facts.get("data") or {}).get("rows") or {}
    return counted.get("train") or None


class History:
    """Earlier results of the store, by stage."""

    def __init__(self, store: Store) -> None:
        """Read the manifests of a store once."""
        self._by_stage: dict[str, list[Artifact]] = {}
        for entry in store.entries():
            self._by_stage.setdefault(entry.artifact.manifest.stage, []).append(entry.artifact)

    def guess(
        self,
        stage: str,
        config: StageConfig,
        source: str | None,
        *,
        trains: bool,
        workload: Callable[[], Workload],
    ) -> Guess:
        """Median of the earlier runs; of those that train, by passes and rows. By arithmetic without any.

        Runs on the same data come first, since rows differ in length.

        Args:
            stage: its name.
            config: its options.
            source: of the data, as manifests record it; None without data.
            trains: whether it makes passes over the training rows.
            workload: what there is to compute; asked only where it is needed.
        """
        options = config.model_dump(mode="json")
        earlier = self._by_stage.get(stage, [])
        if not earlier:
            work = workload()
            passes = effort(options, work.rows)
            seconds = training_seconds(work, passes, operations_per_s()) if trains else None
            basis = f"never run here; arithmetic of {passes:g} passes over {work.rows} rows"
            return Guess(seconds, work.bytes, basis if seconds is not None else "never run here")
        same = [run for run in earlier if source and (run.manifest.origin.data or {}).get("source") == source]
        chosen = same or earlier
        rows = workload().rows if trains else None
        seconds = statistics.median(_rescaled(run.manifest, options, rows) for run in chosen)
        size = int(statistics.median(run.size_bytes for run in chosen))
        basis = f"{len(chosen)} earlier run{'s' if len(chosen) > 1 else ''}{' on this data' if same else ''}"
        if rows:
            basis += f", scaled to {effort(options, rows):g} passes over {rows} rows"
        return Guess(seconds=round(seconds, 1), bytes=size, basis=basis)


def _rescaled(earlier: Manifest, options: dict[str, Any], rows: int | None) -> float:
    """Seconds of an earlier run for the passes and rows of a new one, as far as they are known."""
    seconds, before = float(earlier.facts.get("seconds", 0)), _rows(earlier)
    if not rows or not before:
        return seconds
    return seconds * effort(options, rows) * rows / (effort(earlier.config, before) * before)
