"""Latency under load that does not wait: requests arrive at a given rate, queueing included.

``rate: 50/s`` sends requests by a schedule, by default with the random gaps of independent users, and
counts each latency from the moment at which its request should have started; see ``bench.lanes.load``. One
stream of requests a candidate, served in order; candidates take turns, window by window, with the same
arrivals. Tokenization is in no timing here either.

Every window begins with an empty queue, and nothing of it is left out. At a load that keeps the server busy
for more than some 80 % of the time, the latency of 100 requests is still below the lasting one; a note says
so, and how many would be enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from pydantic import Field, field_validator

from bench.lanes import feeds, load, turns
from bench.lanes.feeds import Point
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.limits import Limit, Rate
from bench.record.model import Flags, Measurement, Report
from bench.statistics import stats, windows
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "ms"
BETTER: Final = "lower"
DEFAULT = False
FRESH = False
FIGURES = (Figure("open_loop_*"),)

_PERCENTILES = (50.0, 95.0, 99.0, 99.9)
_FEEDS = 64
# A request in a hundred seconds, and one a microsecond, which is shorter than any runtime's call.
_LEAST, _MOST = 0.01, 1e6
# Busy for more than this share of the time, a queue hardly ever empties.
_SATURATED = 0.95


class Config(Strict):
    """Options.

    Attributes:
        rate: requests a second, such as ``50/s``; a request is a batch of the first batch size.
        requests: in each window.
        windows: that each candidate gets.
        arrivals: ``poisson`` for random gaps, ``even`` for equal ones.
    """

    rate: Rate
    requests: int = Field(default=100, ge=2, le=10**7)
    windows: int = Field(default=5, ge=2, le=10_000)
    arrivals: Literal["poisson", "even"] = "poisson"

    @field_validator("rate")
    @classmethod
    def _rate(cls, rate: Limit) -> Limit:
        """Refuse a schedule without an end, and one without gaps."""
        if not _LEAST <= rate.value <= _MOST:
            raise ValueError(f"a rate is {_LEAST:g}/s to {_MOST:.0f}/s, such as 50/s; got '{rate.text}'")
        return rate


def figures(
    name: str,
    latencies: dict[str, np.ndarray],
    service: dict[str, np.ndarray],
    spans: dict[str, np.ndarray],
    baseline: str,
    conditions: dict[str, int | str],
    draws: np.ndarray,
    *,
    random: bool = True,
) -> list[Measurement]:
    """The percentiles of one candidate and the share of the time in which it worked.

    Args:
        name: of the candidate.
        latencies: candidate -> milliseconds, [windows, requests].
        service: candidate -> time in which it worked, [windows].
        spans: candidate -> length of each window, in the same unit.
        baseline: of the ratios.
        conditions: stated with each figure.
        draws: resamples of windows.
        random: whether requests came with random gaps.
    """
    times, base_times = latencies[name], latencies[baseline]

    def share(candidate: str, draw: np.ndarray | slice = slice(None)) -> float:
        return min(1.0, float(service[candidate][draw].sum() / spans[candidate][draw].sum()))

    busy = share(name)
    flags = Flags(saturated=busy > _SATURATED)
    notes: tuple[str, ...] = (f"busy {100 * busy:.0f} % of the time",)
    if flags.saturated:
        notes = (*notes, "saturated: requests came faster than they were served, and the queue grew")
    elif random and (needed := load.settling(busy)) > times.shape[1]:
        notes = (
            *notes,
            "near saturation: each window begins with an empty queue, which settles after about "
            f"{needed:.0f} requests at this load, and a window has {times.shape[1]}: latency that lasts is "
            "higher (raise 'requests')",
        )
    measurements = [
        Measurement(
            probe="open_loop",
            candidate=name,
            metric="open_loop_busy",
            value=busy,
            unit="share",
            better="lower",
            interval=stats.interval(windows.resampled(lambda draw: share(name, draw), draws)),
            ratio=busy / share(baseline),
            ratio_interval=stats.interval(
                windows.resampled(lambda draw: share(name, draw) / share(baseline, draw), draws)
            ),
            conditions=conditions,
            rounds=len(times),
        )
    ]
    for q in _PERCENTILES:
        if not stats.supported(times.size, q):
            continue
        ratio, ratio_interval = stats.ratio_of_percentiles(times, base_times, q, draws)
        measurements.append(
            Measurement(
                probe="open_loop",
                candidate=name,
                metric=f"open_loop_p{q:g}_ms",
                value=stats.percentile(times, q),
                unit=UNIT,
                better=BETTER,
                interval=stats.percentile_interval(times, q, draws),
                ratio=ratio,
                ratio_interval=ratio_interval,
                conditions=conditions,
                samples=tuple(float(latency) for latency in times.ravel()) if q == 50 else (),
                rounds=len(times),
                flags=flags,
                notes=notes,
            )
        )
    return measurements


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Latency percentiles in ms of every candidate under that load, on the rows' own lengths."""
    point = Point(subject.bench.batch_sizes[0], feeds.DATA)
    generator = np.random.default_rng([subject.seed, 8])
    draws = stats.resample_rounds(config.windows, generator)
    key = "open loop"
    for lane in lanes:
        lane.keep(key, feeds.at(lane, subject, point, _FEEDS).arrays)
    window_latencies: dict[str, list[np.ndarray]] = {lane.name: [] for lane in lanes}
    service: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    spans: dict[str, list[float]] = {lane.name: [] for lane in lanes}
    with log.progress(f"open loop: {config.rate.text}", config.windows) as bar:
        for _ in range(config.windows):
            arrived = load.arrivals(
                config.rate.value, config.requests, generator, poisson=config.arrivals == "poisson"
            )
            for lane in turns.shuffled(lanes, generator):
                latencies, served = lane.open_loop(key, arrived)
                window_latencies[lane.name].append(latencies / 1e6)
                service[lane.name].append(float(served.sum()))
                spans[lane.name].append(float(arrived[-1] + latencies[-1]))
            bar.advance()
    for lane in lanes:
        lane.drop(key)
    by_name = {name: np.stack(values) for name, values in window_latencies.items()}
    worked = {name: np.array(values) for name, values in service.items()}
    lasted = {name: np.array(values) for name, values in spans.items()}
    conditions = {**point.conditions, "rate": config.rate.text}
    return [
        measurement
        for lane in lanes
        for measurement in figures(
            lane.name,
            by_name,
            worked,
            lasted,
            subject.baseline,
            conditions,
            draws,
            random=config.arrivals == "poisson",
        )
    ]


def explanation(report: Report) -> str:
    """What latency counts from."""
    return (
        "Open-loop requests arrive by a schedule that does not wait; latency counts from the intended "
        "start, queueing included."
    )
