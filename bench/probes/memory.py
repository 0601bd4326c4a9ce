"""Memory of a candidate's process, as the operating system sees it, and of the device.

``memory_peak_bytes`` is the peak resident memory of a fresh process that opened the artifact and ran the
heaviest feeds of the grid: the longest rows, or the largest fixed length, at the largest batch size.
``memory_empty_bytes`` is what the same process held when it had closed the model again: interpreter, runtime
and libraries. ``memory_model_bytes`` is the difference.

On a GPU, ``device_memory_peak_bytes`` is what the driver says that the process holds after those feeds, its
CUDA context included: no peak that is watched for, but allocators keep what they once took. Where the driver
shows no processes, it is all that is in use on the device, other candidates and other users included; a note
says so, and such a figure has no ratio (``device_memory`` gives the growth there).
``device_memory_allocated_bytes`` is the most that PyTorch's own allocator had given out.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import numpy as np

from bench.lanes import feeds
from bench.lanes.feeds import DATA, Point
from bench.lanes.lane import Lane
from bench.machine import devices
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Flags, Measurement, Report
from compress import log
from compress.strict import Strict

UNIT = "bytes"
BETTER: Final = "lower"
DEFAULT = True
FRESH = True
FIGURES = (
    Figure(
        "memory_peak_bytes",
        columns=(Column("peak memory", rank=30),),
        exact="memory",
        card="Peak memory",
        rank=30,
    ),
    Figure("memory_*_bytes", rows="nowhere", exact="memory"),
    Figure("device_memory_peak_bytes", rows="page", exact="memory"),
    Figure("device_memory_allocated_bytes", rows="page", exact="memory"),
)

_RUNS = 4


class Config(Strict):
    """There is nothing to choose."""


def heaviest(lane: Lane, subject: Subject) -> list[dict[str, np.ndarray]]:
    """Feeds that stand for the most memory that the grid asks for."""
    size = max(subject.bench.batch_sizes)
    batches = []
    if DATA in subject.bench.lengths:
        rows = list(feeds.pieces(lane, subject).rows)
        lengths = feeds.own(lane, subject).lengths(rows)
        if lengths is not None:
            rows = [rows[int(i)] for i in np.argsort(-np.asarray(lengths), kind="stable")]
        rows = (rows * -(-size // len(rows)))[:size]
        batches.append(lane.feed(feeds.encoder(lane, subject)(rows).inputs))
    numbers = [length for length in subject.bench.lengths if isinstance(length, int)]
    if numbers:
        batches += feeds.fixed(lane, subject, Point(size, max(numbers)), 1).arrays
    return batches


def _measure_lane(lane: Lane, subject: Subject) -> list[Measurement]:
    with ExitStack() as stack:
        fresh = lane
        if lane.used:  # what ran before would be in the peak
            fresh = stack.enter_context(Lane(lane.spec))
        work = heaviest(fresh, subject)
        fresh.keep("memory", work)
        for index in range(len(work)):
            fresh.turn("memory", [index] * _RUNS)
        usage = fresh.memory()
        size = max(subject.bench.batch_sizes)
        device = devices.held_bytes(lane.spec.device, fresh.opened.pid)
        empty = fresh.empty_bytes()  # closes the model: last
        fresh.drop("memory")

    def figure(metric: str, value: float, *notes: str, whole_device: bool = False) -> Measurement:
        return Measurement(
            probe="memory",
            candidate=lane.name,
            metric=metric,
            value=float(value),
            unit=UNIT,
            better=BETTER,
            flags=Flags(whole_device=whole_device),
            notes=notes,
        )

    note = f"batch {size}, the longest rows of the grid"
    measurements = [
        figure("memory_peak_bytes", usage.peak, note),
        figure("memory_empty_bytes", empty, "the process with its libraries, after it closed the model"),
        figure("memory_model_bytes", usage.peak - empty, note),
    ]
    if device is not None:
        device_bytes, exact = device
        notes = (note,) if exact else (note, devices.WHOLE)
        measurements.append(figure("device_memory_peak_bytes", device_bytes, *notes, whole_device=not exact))
    if usage.device_allocated:
        measurements.append(
            figure("device_memory_allocated_bytes", usage.device_allocated, note, "PyTorch's allocator")
        )
    return measurements


def _against(base: Measurement | None, measurement: Measurement) -> Measurement:
    """A figure with its ratio, where that says something about the two processes."""
    if base is None or not base.value or (base.flags | measurement.flags).whole_device:
        return measurement
    return measurement.model_copy(update={"ratio": measurement.value / base.value})


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Peak memory of every candidate, in bytes."""
    measurements: list[Measurement] = []
    with log.progress("memory", len(lanes)) as bar:
        for lane in lanes:
            measurements += _measure_lane(lane, subject)
            bar.advance(1, lane.name)
    base = {
        measurement.metric: measurement
        for measurement in measurements
        if measurement.candidate == subject.baseline
    }
    return [_against(base.get(measurement.metric), measurement) for measurement in measurements]


def explanation(report: Report) -> str:
    """What the peak is of."""
    return (
        "Memory is the peak of a fresh process as the operating system sees it, libraries included; "
        "the share of the model alone is in the JSON report."
    )
