"""Energy of a row, from the processor's own counters, above what the machine takes at rest.

While a candidate runs back to back, the counters of all packages are read before and after; what the idle
machine took just before, for as long, is taken off. Other processes are in the figure: use a machine at rest.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds, turns
from bench.lanes.feeds import Point
from bench.machine import energy
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement
from bench.statistics import stats, windows
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "mJ"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (Figure("energy_mj_per_row", "energy a row"),)

_FEEDS = 64


class Config(Strict):
    """Options.

    Attributes:
        windows: that each candidate gets.
        seconds: length of a window, and of the idle one before it.
    """

    windows: int = Field(default=5, ge=2, le=10_000)
    seconds: float = Field(default=1.0, gt=0, le=3600)


def unavailable() -> str | None:
    """Why energy cannot be measured here; None if it can."""
    return energy.unavailable(energy.ROOT)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Millijoules a row of every candidate, at the first batch size."""
    point = Point(subject.bench.batch_sizes[0], feeds.DATA)
    counters = energy.counters(energy.ROOT)
    ranges = [counter.range for counter in counters]
    generator = np.random.default_rng([subject.seed, 10])
    draws = stats.resample_rounds(config.windows, generator)
    for lane in lanes:
        lane.keep("energy", feeds.at(lane, subject, point, _FEEDS).arrays)
    millijoules: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    below: dict[str, int] = dict.fromkeys(millijoules, 0)
    with log.progress("energy", config.windows) as bar:
        for _ in range(config.windows):
            for lane in turns.shuffled(lanes, generator):
                start = [counter.read() for counter in counters]
                time.sleep(config.seconds)
                before = [counter.read() for counter in counters]
                rows, seconds = lane.flow("energy", config.seconds)
                after = [counter.read() for counter in counters]
                idle = energy.joules(start, before, ranges) * seconds / config.seconds
                joules = energy.joules(before, after, ranges) - idle
                below[lane.name] += joules <= 0
                millijoules[lane.name].append(max(joules, 0.0) * 1e3 / rows)
            bar.advance()
    spent = {name: np.array(values) for name, values in millijoules.items()}
    measurements = []
    for lane in lanes:
        lane.drop("energy")
        lost = below[lane.name]
        measurements.append(
            windows.figure(
                "energy",
                "energy_mj_per_row",
                UNIT,
                BETTER,
                lane.name,
                spent,
                subject.baseline,
                point.conditions,
                draws,
                notes=(f"{lost} windows took no more than the idle machine",) if lost else (),
            )
        )
    return measurements
