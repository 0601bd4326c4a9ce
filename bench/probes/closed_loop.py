"""Rows a second and latency when a number of clients each wait for their answer before they ask again.

All clients are threads in the candidate's own process, on one open runner. A runtime that takes several
requests at once gets them at once; for any other they queue, and the waiting is in the latency.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds, turns
from bench.lanes.feeds import Point
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Interval, Measurement
from bench.statistics import stats, windows
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "per_s"
BETTER: Final = "higher"
DEFAULT = False
FRESH = False
FIGURES = (Figure("closed_loop_*"),)

_PERCENTILES = (50.0, 95.0, 99.0)
_FEEDS = 64


class Config(Strict):
    """Options.

    Attributes:
        clients: that wait for answers side by side.
        windows: that each candidate gets.
        seconds: length of a window.
    """

    clients: int = Field(default=2, ge=1, le=1024)
    windows: int = Field(default=5, ge=2, le=10_000)
    seconds: float = Field(default=0.4, gt=0, le=3600)


def window_intervals(
    latencies: Sequence[np.ndarray], base: Sequence[np.ndarray], q: float, draws: np.ndarray
) -> tuple[Interval | None, Interval | None]:
    """Intervals of a percentile and of its ratio to the baseline's, by resampling whole windows.

    Args:
        latencies: of each window, which may hold different numbers of requests.
        base: the baseline's, of windows that lay beside them in time; both are drawn together.
        q: 0 to 100.
        draws: resamples of windows.
    """

    def drawn(of: Sequence[np.ndarray]) -> np.ndarray:
        return windows.resampled(
            lambda draw: float(np.percentile(np.concatenate([of[i] for i in draw]), q)), draws
        )

    percentiles = drawn(latencies)
    return stats.interval(percentiles), stats.interval(percentiles / drawn(base))


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Rows a second, and the latency that clients see, of every candidate at the first batch size."""
    point = Point(subject.bench.batch_sizes[0], feeds.DATA)
    generator = np.random.default_rng([subject.seed, 9])
    draws = stats.resample_rounds(config.windows, generator, 500)
    key = "closed loop"
    for lane in lanes:
        lane.keep(key, feeds.at(lane, subject, point, _FEEDS).arrays)
    rates: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    window_latencies: dict[str, list[np.ndarray]] = {lane.name: [] for lane in lanes}
    together: dict[str, bool] = {}
    with log.progress(f"closed loop: {config.clients} clients", config.windows) as bar:
        for _ in range(config.windows):
            for lane in turns.shuffled(lanes, generator):
                latencies, seconds, together[lane.name] = lane.closed_loop(
                    key, config.clients, config.seconds
                )
                rates[lane.name].append(len(latencies) * point.batch_size / seconds)
                window_latencies[lane.name].append(latencies / 1e6)
            bar.advance()
    measurements = []
    by_name = {name: np.array(values) for name, values in rates.items()}
    conditions = {**point.conditions, "clients": config.clients}
    for lane in lanes:
        lane.drop(key)
        notes = () if together[lane.name] else ("this runtime takes one request at a time: clients queue",)
        measurements.append(
            windows.figure(
                "closed_loop",
                "closed_loop_rows_per_s",
                UNIT,
                BETTER,
                lane.name,
                by_name,
                subject.baseline,
                conditions,
                draws,
                notes=notes,
            )
        )
        pooled, base = (np.concatenate(window_latencies[name]) for name in (lane.name, subject.baseline))
        for q in _PERCENTILES:
            if not stats.supported(len(pooled), q):
                continue
            interval, ratio_interval = window_intervals(
                window_latencies[lane.name], window_latencies[subject.baseline], q, draws
            )
            measurements.append(
                Measurement(
                    probe="closed_loop",
                    candidate=lane.name,
                    metric=f"closed_loop_p{q:g}_ms",
                    value=stats.percentile(pooled, q),
                    unit="ms",
                    better="lower",
                    interval=interval,
                    ratio=stats.percentile(pooled, q) / stats.percentile(base, q),
                    ratio_interval=ratio_interval,
                    conditions=conditions,
                    rounds=config.windows,
                    notes=notes,
                )
            )
    return measurements
