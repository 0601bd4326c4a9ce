"""A model's memory on the GPU, as four figures that are not added up: file, weights, activations, process.

``file`` is what lies on disk. ``weights`` and ``activations`` are what the runtime says that the opened model
holds (``reserved``: what its allocator keeps beyond use). ``process`` is what the driver says that a fresh
process held after the heaviest feeds of the grid, less what a process with an empty CUDA context holds,
which is ``context`` and shown. Where the driver shows no processes, the growth of the whole device stands for
the process's own figure, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.lanes.lane import Lane
from bench.machine import devices
from bench.machine.devices import Watched
from bench.probes import Subject
from bench.probes.memory import heaviest
from bench.probes.size import weights_bytes
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from compress import log
from compress.strict import Strict

UNIT = "bytes"
BETTER: Final = "lower"
DEFAULT = True
FRESH = True
_TABLE = "Memory on the GPU"
_TITLES = {"process": "process less context"}
FIGURES = tuple(
    Figure(
        f"device_memory_{part}_bytes",
        columns=(Column(_TITLES.get(part, part), rank, table=_TABLE),),
        exact="counted" if part == "file" else "memory",
    )
    for rank, part in enumerate(("file", "weights", "activations", "reserved", "process", "context"))
)

_RUNS = 4
_STATED = ("weights", "activations", "reserved")


class Config(Strict):
    """There is nothing to choose."""


def parts(
    file: int, stated: dict[str, int | None], process_bytes: int | None, context: int | None
) -> dict[str, int]:
    """The figures of one candidate that are known, by part.

    Args:
        file: bytes on disk.
        stated: what the runtime says.
        process_bytes: what the process held, its context included.
        context: what an empty context holds.
    """
    sizes = {"file": file}
    sizes |= {part: size for part in _STATED if (size := stated.get(part)) is not None}
    if process_bytes is not None and context is not None:
        sizes |= {"process": max(0, process_bytes - context), "context": context}
    return sizes


def _measure_lane(lane: Lane, subject: Subject, watched: Watched | None) -> tuple[dict[str, int], list[str]]:
    """The figures of one candidate in a process of its own, and what a reader must know."""
    before = watched.gpu.used_bytes() if watched else None
    with Lane(lane.spec) as fresh:
        work = heaviest(fresh, subject)
        fresh.keep("device memory", work)
        for index in range(len(work)):
            fresh.turn("device memory", [index] * _RUNS)
        stated = fresh.device_memory()
        usage = devices.held_bytes(lane.spec.device, fresh.opened.pid, before)
    notes = [f"batch {max(subject.bench.batch_sizes)}, the longest rows of the grid"]
    if usage is None:
        notes.append("the process's own figure is not known: nvidia-ml-py is not installed")
    elif not usage[1]:
        notes.append("process: the growth of the whole device, whose driver shows no processes here")
    context = watched.context_bytes if watched else None
    return parts(weights_bytes(lane.spec.artifact), stated, usage[0] if usage else None, context), notes


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """``device_memory_*_bytes`` of every candidate that runs on a GPU."""
    able = [lane for lane in lanes if lane.opened.graph_choices]
    if not able:
        return []
    by_name = {}
    watched = devices.find(able[0].spec.device)
    with log.progress("GPU memory", len(able)) as bar:
        for lane in able:
            by_name[lane.name] = _measure_lane(lane, subject, watched)
            bar.advance(1, lane.name)
    base = by_name.get(subject.baseline, ({}, []))[0]
    return [
        Measurement(
            probe="device_memory",
            candidate=name,
            metric=f"device_memory_{part}_bytes",
            value=float(size),
            unit=UNIT,
            better=BETTER,
            ratio=size / base[part] if base.get(part) else None,
            notes=tuple(notes),
        )
        for name, (sizes, notes) in by_name.items()
        for part, size in sizes.items()
    ]


def explanation(report: Report) -> str:
    """What the figures are of."""
    return (
        "GPU memory is given as four figures that are not added up: file, weights, activations, and what "
        "the driver says that the process holds, less an empty CUDA context."
    )
