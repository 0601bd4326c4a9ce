"""Energy of a request on the GPU: the driver's counter before and after runs that follow each other.

The counter is the whole board's, idle power included, and so is the figure: it is what a busy GPU takes for a
row. Candidates take turns, window by window; a window is long against the counter's step (about 0.1 s).
A GPU without the counter (before Volta) has no figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds, turns
from bench.machine import devices
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement
from bench.statistics import stats, windows
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "mJ"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False
FIGURES = (
    Figure(
        "device_energy_per_row_mj",
        columns=(Column("energy a row", rank=50, table="Time on the GPU"),),
        grid=True,
    ),
)

_FEEDS = 64


class Config(Strict):
    """Options.

    Attributes:
        windows: that each candidate gets at each point.
        seconds: length of a window.
    """

    windows: int = Field(default=3, ge=2, le=10_000)
    seconds: float = Field(default=2.0, gt=0, le=3600)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Millijoules a row of every candidate that runs on a GPU with an energy counter."""
    able = [lane for lane in lanes if lane.opened.graph_choices]
    watched = devices.find(able[0].spec.device) if able else None
    if watched is None or watched.gpu.energy_mj() is None:
        return []
    generator = np.random.default_rng([subject.seed, 10])
    draws = stats.resample_rounds(config.windows, generator)
    measurements = []
    for point in feeds.points(subject):
        key = f"device energy {point}"
        for lane in able:
            lane.keep(key, feeds.at(lane, subject, point, _FEEDS).arrays)
        millijoules: dict[str, list[float]] = {lane.name: [] for lane in able}
        with log.progress(f"GPU energy: {point}", config.windows) as bar:
            for _ in range(config.windows):
                for lane in turns.shuffled(able, generator):
                    before = watched.gpu.energy_mj() or 0
                    rows, _ = lane.flow(key, config.seconds)
                    millijoules[lane.name].append(((watched.gpu.energy_mj() or 0) - before) / rows)
                bar.advance()
        spent = {name: np.array(values) for name, values in millijoules.items()}
        for lane in able:
            lane.drop(key)
            measurements.append(
                windows.figure(
                    "device_energy",
                    "device_energy_per_row_mj",
                    UNIT,
                    BETTER,
                    lane.name,
                    spent,
                    subject.baseline,
                    point.conditions,
                    draws,
                    notes=("of the whole board, idle power included",),
                )
            )
    return measurements
