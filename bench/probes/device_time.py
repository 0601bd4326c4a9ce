"""Time on the GPU: between device events, of enqueuing on the host, and from end to end; never mixed.

``gpu_*_ms`` is one run between two events on its idle stream, inputs on the device (the launch of the first
kernel is in it). ``enqueue_*_ms`` is what the host took to enqueue the same runs. ``e2e_*_ms`` is from arrays
to arrays: pinned copies, run, and one wait. Each is measured with and without a CUDA graph where the runtime
has one (the condition ``graph``).
Candidates take turns as for ``latency``. Two flags are trtexec's (NVIDIA's sampleReporting.cpp):
``host_bound`` where enqueuing takes more than 0.8 of the GPU's time, so that the GPU waits for the host;
``unstable`` where the coefficient of variation is above 2.5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds, turns
from bench.lanes.feeds import Point
from bench.machine import devices
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Flags, Measurement, Report
from bench.statistics import stats
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "ms"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False
_TABLE = "Time on the GPU"
FIGURES = (
    Figure(
        "gpu_p50_ms",
        columns=(Column("GPU p50", 10, table=_TABLE), Column("speed-up", 40, "times", _TABLE)),
        grid=True,
    ),
    Figure("gpu_p95_ms", columns=(Column("GPU p95", 11, table=_TABLE),), grid=True),
    Figure("enqueue_p50_ms", columns=(Column("enqueue p50", 20, table=_TABLE),), grid=True),
    Figure("e2e_p50_ms", columns=(Column("end to end p50", 30, table=_TABLE),), grid=True),
    *(Figure(f"{part}_*_ms", rows="nowhere", grid=True) for part in ("gpu", "enqueue", "e2e")),
)

HOST_BOUND = 0.8
UNSTABLE = 0.025
PARTS = ("gpu", "enqueue", "e2e")
_PERCENTILES = (50.0, 90.0, 95.0, 99.0)
_SETTLE = 2
_WINDOW = 10


class Config(Strict):
    """Options.

    The defaults are at least 3 seconds and 500 runs: so many carry a p99, which wants at least 300.

    Attributes:
        warmup_ms: of GPU time before anything is counted.
        warmup_runs: and at least this many runs.
        rounds: in which the candidates take turns, at least.
        runs: of each candidate in a round.
        min_seconds: of timed runs of each candidate; there are more rounds until they are reached.
        max_rounds: that there may be for it; a note says where they were not enough.
    """

    warmup_ms: float = Field(default=200.0, gt=0, le=3.6e6)
    warmup_runs: int = Field(default=20, ge=1, le=10**6)
    rounds: int = Field(default=25, ge=2, le=10_000)
    runs: int = Field(default=20, ge=1, le=10_000)
    min_seconds: float = Field(default=3.0, ge=0, le=86_400)
    max_rounds: int = Field(default=400, ge=2, le=10**6)


@dataclass(frozen=True)
class Timed:
    """Timings of one candidate at one point, with or without a graph.

    Attributes:
        samples: part -> milliseconds, [rounds, runs].
        flags: what is known of them.
        notes: what a reader must know of them.
    """

    samples: dict[str, np.ndarray]
    flags: Flags
    notes: tuple[str, ...]


def variation(samples: np.ndarray) -> float:
    """The coefficient of variation: standard deviation over mean."""
    return float(samples.std() / samples.mean())


def flags(samples: Mapping[str, np.ndarray], *, waits: bool) -> tuple[Flags, list[str]]:
    """What the timings say of themselves, for verdicts and in words.

    Args:
        samples: part -> milliseconds.
        waits: whether enqueuing waits for the device, so that its time is no cost of the host.
    """
    notes = []
    gpu, enqueue = np.median(samples["gpu"]), np.median(samples["enqueue"])
    host_bound = bool(not waits and enqueue > HOST_BOUND * gpu)
    if waits:
        notes.append(
            "the runtime waits for the device inside a graph's replay: its enqueue time holds the GPU's, and "
            "its GPU time the way back to the host"
        )
    elif host_bound:
        notes.append(
            f"host_bound: enqueuing takes {enqueue / gpu:.2f} of the GPU's time: the GPU waits for the host"
        )
    spread = variation(samples["gpu"])
    if spread > UNSTABLE:
        notes.append(f"unstable: the GPU's time varies by {100 * spread:.1f} % (coefficient of variation)")
    return Flags(host_bound=host_bound, unstable=spread > UNSTABLE), notes


def figures(
    name: str,
    timed: Mapping[str, Timed],
    baseline: str,
    conditions: dict[str, int | str],
    draws: np.ndarray,
) -> list[Measurement]:
    """Percentiles, mean and least of each part, with ratios to the baseline's.

    Args:
        name: of the candidate.
        timed: candidate -> its timings, at the same point and in the same way.
        baseline: of ratios; there may be none of it.
        conditions: stated with the figures.
        draws: resamples of rounds.
    """
    timing, base = timed[name], timed.get(baseline)
    measurements = []
    for part in PARTS:
        samples = timing.samples[part]

        base_samples = None if base is None else base.samples[part]
        for q in _PERCENTILES:
            if not stats.supported(samples.size, q):
                continue
            ratio = ratio_interval = None
            if base_samples is not None:
                form = stats.ratio_of_medians if q == 50 else partial(stats.ratio_of_percentiles, q=q)
                ratio, ratio_interval = form(samples, base_samples, draws=draws)
            counted = (
                f"{part}: {samples.size} runs, coefficient of variation {100 * variation(samples):.1f} %"
            )
            measurements.append(
                Measurement(
                    probe="device_time",
                    candidate=name,
                    metric=f"{part}_p{q:.0f}_ms",
                    value=stats.percentile(samples, q),
                    unit=UNIT,
                    better=BETTER,
                    interval=stats.percentile_interval(samples, q, draws),
                    ratio=ratio,
                    ratio_interval=ratio_interval,
                    conditions=conditions,
                    samples=tuple(float(x) for x in samples.ravel()) if q == 50 else (),
                    rounds=len(samples),
                    flags=timing.flags,
                    notes=(*timing.notes, counted) if q == 50 else timing.flags.notes,
                )
            )
        for figure, take in (("mean", np.mean), ("min", np.min)):
            value = float(take(samples))
            measurements.append(
                Measurement(
                    probe="device_time",
                    candidate=name,
                    metric=f"{part}_{figure}_ms",
                    value=value,
                    unit=UNIT,
                    better=BETTER,
                    ratio=None if base_samples is None else value / float(take(base_samples)),
                    conditions=conditions,
                    flags=timing.flags,
                    notes=timing.flags.notes,
                )
            )
    return measurements


def warm_up(lane: Lane, key: str, count: int, config: Config, *, graph: bool) -> None:
    """Run until the GPU has worked for long enough for its clocks to rise."""
    spent, runs = 0.0, 0
    while spent < config.warmup_ms or runs < config.warmup_runs:
        turn = lane.device_turn(key, [(runs + i) % count for i in range(_WINDOW)], graph=graph)
        spent += float(turn.gpu.sum() + turn.e2e.sum())
        runs += _WINDOW


def wants_more(rounds: int, seconds: float, config: Config) -> bool:
    """Whether there is another round.

    Args:
        rounds: done.
        seconds: of timed runs of the candidate that has the fewest.
        config: least and most.
    """
    return rounds < config.rounds or (seconds < config.min_seconds and rounds < config.max_rounds)


def time_point(
    lanes: Sequence[Lane], subject: Subject, point: Point, config: Config, *, graph: bool
) -> dict[str, Timed]:
    """Interleaved timings, in one way, of all candidates that have it."""
    runs = config.runs
    key = f"device time {point}"
    counts: dict[str, int] = {}
    notes: dict[str, list[str]] = {}
    for lane in lanes:
        lane_feeds = feeds.at(lane, subject, point, config.rounds * runs)
        lane.keep(key, lane_feeds.arrays)
        counts[lane.name] = len(lane_feeds.arrays)
        note = lane_feeds.note()
        notes[lane.name] = [note] if note else []
        warm_up(lane, key, len(lane_feeds.arrays), config, graph=graph)
    watched = devices.find(lanes[0].spec.device)
    before = watched.gpu.state() if watched else None
    generator = np.random.default_rng([subject.seed, 8, point.batch_size, int(graph)])
    timings: dict[str, dict[str, list[np.ndarray]]] = {
        lane.name: {part: [] for part in PARTS} for lane in lanes
    }
    waits: dict[str, bool] = {}
    title = f"GPU time{' with graph' if graph else ''}: {point}"
    spent = dict.fromkeys(timings, 0.0)
    number = 0
    with log.progress(title, config.rounds) as bar:
        while wants_more(number, min(spent.values()), config):
            for lane in turns.shuffled(lanes, generator):
                order = [(number * runs + i) % counts[lane.name] for i in range(runs)]
                turn = lane.device_turn(key, order, settle=order[:1] * _SETTLE, graph=graph)
                waits[lane.name] = turn.waits
                for part in PARTS:
                    timings[lane.name][part].append(getattr(turn, part))
                spent[lane.name] += float(turn.gpu.sum() + turn.e2e.sum()) / 1000
            number += 1
            bar.advance()
    moved = devices.disturbances(before, watched.gpu.state()) if watched and before else None
    timed = {}
    for lane in lanes:
        lane.drop(key)
        samples = {part: np.stack(rows) for part, rows in timings[lane.name].items()}
        if spent[lane.name] < config.min_seconds:
            short = f"{number} rounds (max_rounds) took {spent[lane.name]:.2f} s, less than min_seconds"
            notes[lane.name].append(f"{short} {config.min_seconds:g}")
        raised, said_of_them = flags(samples, waits=waits[lane.name])
        raised |= Flags(spoiled=moved)
        timed[lane.name] = Timed(samples, raised, (*notes[lane.name], *said_of_them, *raised.notes))
    return timed


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """GPU, enqueue and end-to-end times in ms, at every point, with and without a graph.

    Candidates whose runtime cannot be timed by device events (on a CPU: all) have none.
    """
    measurements = []
    for point in feeds.points(subject):
        for graph in (False, True):
            able = [lane for lane in lanes if graph in lane.opened.graph_choices]
            if not able:
                continue
            timed = time_point(able, subject, point, config, graph=graph)
            rounds = len(timed[able[0].name].samples["gpu"])
            draws = stats.resample_rounds(rounds, np.random.default_rng([subject.seed, 9]))
            conditions: dict[str, int | str] = {**point.conditions, "graph": "yes" if graph else "no"}
            for lane in able:
                measurements += figures(lane.name, timed, subject.baseline, conditions, draws)
    return measurements


def explanation(report: Report) -> str:
    """What each of the three times is."""
    return (
        "GPU time is that between device events around one run, inputs on the device; enqueue time is "
        "what the host took to enqueue it; end-to-end time has the pinned copies and the wait in it. "
        "They are figures of their own, with and without a CUDA graph."
    )
