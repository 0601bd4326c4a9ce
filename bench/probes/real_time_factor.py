"""How long a model takes for a second of sound: the median latency over the mean length of the sounds.

Below 1 it keeps up with who speaks. One row at a time, encoded before, as the latency is: reading a sound and
making a spectrogram of it are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.lanes import feeds
from bench.lanes.feeds import DATA, Point
from bench.probes import Subject, latency
from bench.record.figure import Figure
from bench.record.model import Interval, Measurement
from compress.errors import NothingToMeasure
from compress.tasks import _audio as audio

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "x"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (Figure("real_time_factor", title="real-time factor", exact="timed"),)

Config = latency.Config


def seconds_heard(lane: Lane, subject: Subject, role: str) -> float:
    """The mean length of the evaluation sounds, as far as a candidate hears them."""
    encoder = feeds.own(lane, subject)
    most = np.inf if encoder.max_length is None else encoder.max_length / encoder.processor.sampling_rate
    lengths = [min(audio.shape(row[role]).seconds, most) for row in subject.rows]
    return float(np.mean(lengths))


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Seconds a second of sound, of every candidate, one row at a time.

    Raises:
        NothingToMeasure: rows are no sounds.
    """
    roles = [role for role, column in subject.task.COLUMNS.items() if column.holds == "audio"]
    if not roles:
        raise NothingToMeasure("a real-time factor is of sounds, and the rows of this task are none")
    point = Point(1, DATA, subject.task.UNIT)
    if not all(("latency", point) in lane.memo for lane in lanes):
        timed = latency.time_point(lanes, subject, point, config)
    else:
        timed = {lane.name: lane.memo["latency", point] for lane in lanes}
    measurements = []
    for lane in lanes:
        milliseconds = 1000 * seconds_heard(lane, subject, roles[0])
        median = next(
            figure
            for figure in latency.figures(lane.name, timed, subject, point, config)
            if figure.metric == "latency_p50_ms"
        )
        interval = median.interval
        measurements.append(
            median.model_copy(
                update={
                    "probe": "real_time_factor",
                    "metric": "real_time_factor",
                    "value": median.value / milliseconds,
                    "unit": UNIT,
                    "interval": interval
                    and Interval(low=interval.low / milliseconds, high=interval.high / milliseconds),
                    "samples": (),
                    "notes": (f"sounds of {milliseconds / 1000:.2f} s on average", *median.notes),
                }
            )
        )
    return measurements
