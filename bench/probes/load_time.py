"""Seconds until a fresh process can answer: in parts, and as a whole from its start to the first answer.

``import_time_s`` (the runtime's libraries) and ``load_time_s`` (opening the artifact) come from the lane's
own process and from the fresh ones that are started here. ``cold_start_s`` is what someone who starts a
server waits for: from starting the process, interpreter and all, to the first answer, arrays in and out.
The files may lie in the OS's page cache (they were checksummed just before): a warm disk's figure.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds
from bench.lanes.feeds import Point
from bench.lanes.lane import Lane
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement
from compress import log
from compress.strict import Strict

UNIT = "s"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False
_ADVICE = "measure both with the probe 'load-time: {processes: 5}'"
FIGURES = (
    Figure("load_time_s", columns=(Column("load", 70, wide=True),), rows="page", advice=_ADVICE),
    Figure("import_time_s", rows="page", advice=_ADVICE),
    Figure("cold_start_s", rows="page", advice=_ADVICE),
)


class Config(Strict):
    """Options.

    Attributes:
        processes: fresh processes a candidate.
    """

    processes: int = Field(default=1, ge=1, le=1000)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """``load_time_s``, ``import_time_s`` and ``cold_start_s`` of every candidate."""
    # A lane's own opening may have read its files from disk, as those after it do not: it counts only where
    # there is but one more.
    opened = {lane.name: [lane.opened] if config.processes == 1 else [] for lane in lanes}
    cold: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    first = {lane.name: feeds.at(lane, subject, Point(1, feeds.DATA), 1).arrays for lane in lanes}
    with log.progress("load time", len(lanes) * config.processes) as bar:
        for _ in range(config.processes):
            for lane in lanes:
                started = time.perf_counter()
                with Lane(lane.spec) as fresh:
                    fresh.infer(first[lane.name])
                    cold[lane.name].append(time.perf_counter() - started)
                    opened[lane.name].append(fresh.opened)
                bar.advance(1, lane.name)
    seconds = {
        metric: {name: [getattr(opening, field) for opening in all_] for name, all_ in opened.items()}
        for metric, field in (("load_time_s", "open_seconds"), ("import_time_s", "import_seconds"))
    }
    seconds["cold_start_s"] = cold
    measurements = []
    for lane in lanes:
        for metric, by_name in seconds.items():
            median = float(np.median(by_name[lane.name]))
            measurements.append(
                Measurement(
                    probe="load_time",
                    candidate=lane.name,
                    metric=metric,
                    value=median,
                    unit=UNIT,
                    better=BETTER,
                    ratio=median / float(np.median(by_name[subject.baseline])),
                    samples=tuple(by_name[lane.name]),
                )
            )
    return measurements
