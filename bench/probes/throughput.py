"""Rows a second when one inference follows the other, in a run of its own.

Apart from latency on purpose: nothing waits between runs, and on a GPU the queue is emptied only at the
end of a window. One stream a candidate; candidates take turns, window by window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds, turns
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement
from bench.statistics import stats, windows
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "per_s"
BETTER: Final = "higher"
DEFAULT = True
FRESH = False
FIGURES = (
    Figure(
        "throughput_rows_per_s",
        columns=(Column("rows per second", 40, table="Latency and throughput"),),
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

    windows: int = Field(default=5, ge=2, le=10_000)
    seconds: float = Field(default=0.4, gt=0, le=3600)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Rows a second of every candidate at every point of the grid."""
    generator = np.random.default_rng([subject.seed, 6])
    draws = stats.resample_rounds(config.windows, generator)
    measurements = []
    for point in feeds.points(subject):
        key = f"throughput {point}"
        for lane in lanes:
            lane.keep(key, feeds.at(lane, subject, point, _FEEDS).arrays)
        window_rates: dict[str, list[float]] = {lane.name: [] for lane in lanes}
        with log.progress(f"throughput: {point}", config.windows) as bar:
            for _ in range(config.windows):
                for lane in turns.shuffled(lanes, generator):
                    rows, seconds = lane.flow(key, config.seconds)
                    window_rates[lane.name].append(rows / seconds)
                bar.advance()
        rates = {name: np.array(values) for name, values in window_rates.items()}
        for lane in lanes:
            lane.drop(key)
            measurements.append(
                windows.figure(
                    "throughput",
                    "throughput_rows_per_s",
                    UNIT,
                    BETTER,
                    lane.name,
                    rates,
                    subject.baseline,
                    point.conditions,
                    draws,
                )
            )
    return measurements
