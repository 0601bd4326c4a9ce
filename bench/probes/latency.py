"""Time of one inference: p50, p95, p99 and p99.9, at every batch size and length, candidates in turns.

What is timed is the model alone: ``Runner.infer`` on encoded arrays and ``sync``, inside the candidate's own
process. Tokenization and message passing are not in it. Every round gives each candidate one turn,
in an order shuffled anew, on the same rows; ratios are formed by round, so that a machine whose speed
wanders moves both sides alike. A percentile is stated only where the sample carries it (p99: 500 runs).
What the timer and the runner's own checks add to each run is measured and stated. CPU time that other
processes took during the turns is counted and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds, turns
from bench.lanes.feeds import Point
from bench.lanes.lane import Lane
from bench.lanes.noise import Disturbance
from bench.machine import devices
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Flags, Interval, Measurement, Report
from bench.statistics import stats
from compress import log
from compress.strict import Strict

PROBE = "latency"
UNIT = "ms"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False
_TABLE = "Latency and throughput"
FIGURES = (
    Figure(
        "latency_p50_ms",
        columns=(
            Column("p50", rank=20),
            Column("speed-up", rank=25, shows="times"),
            Column("p50", rank=20, table=_TABLE),
            Column("speed-up", rank=30, shows="times", table=_TABLE),
        ),
        card="Speed-up",
        rank=10,
        words=("slower", "faster", "no clear difference"),
        grid=True,
    ),
    Figure("latency_p95_ms", columns=(Column("p95", 21), Column("p95", 21, table=_TABLE)), grid=True),
    Figure("latency_p99_ms", columns=(Column("p99", 22, table=_TABLE),), grid=True),
    Figure("latency_p99.9_ms", columns=(Column("p99.9", 23, table=_TABLE),), grid=True),
    Figure("latency_*", grid=True),
)

_PERCENTILES = (50.0, 95.0, 99.0, 99.9)
_WINDOW = 8
_SETTLE = 2


class Config(Strict):
    """Options.

    Attributes:
        warmup_seconds: warm-up goes on until its windows agree, at most this long.
        warmup_runs: and at least this many runs.
        disturbance: share of the timed seconds that other processes may take before it is said.
        tolerance: how far the medians of three windows may lie apart to agree; also how far the later
            rounds may drift from the earlier ones before a figure is called unstable.
    """

    warmup_seconds: float = Field(default=3.0, gt=0, le=3600)
    warmup_runs: int = Field(default=20, ge=1, le=10**6)
    tolerance: float = Field(default=0.1, gt=0, le=1000)
    disturbance: float = Field(default=0.02, gt=0, le=1000)


@dataclass(frozen=True)
class Timed:
    """Timings of one candidate at one point.

    Attributes:
        samples: milliseconds, [rounds, runs].
        disturbed: share of the timed seconds that other processes took.
        flags: what is known of them.
        notes: what a reader must know of them.
    """

    samples: np.ndarray
    disturbed: float
    flags: Flags
    notes: tuple[str, ...]

    def with_earlier(self, earlier: Timed) -> Timed:
        """The rounds measured before, and then these; those that were spoiled are dropped."""
        if earlier.flags.spoiled:
            return self
        parts = (earlier.samples, self.samples)
        spent = [float(samples.sum()) for samples in parts]
        earlier_notes = [note for note in earlier.notes if note not in self.notes]
        return Timed(
            samples=np.concatenate(parts),
            disturbed=(earlier.disturbed * spent[0] + self.disturbed * spent[1]) / sum(spent),
            flags=earlier.flags | self.flags,
            notes=(*earlier_notes, *self.notes),
        )


def warm_up(lane: Lane, key: str, count: int, config: Config) -> str | None:
    """Run until three windows agree; a note where they did not within the time that is given."""
    medians: list[float] = []
    spent = runs = 0.0
    while True:
        order = [int(runs + i) % count for i in range(_WINDOW)]
        durations = lane.turn(key, order)
        runs += _WINDOW
        spent += float(durations.sum()) / 1e9
        medians.append(float(np.median(durations)))
        if runs >= config.warmup_runs and stats.is_stable(medians, tolerance=config.tolerance):
            return None
        if spent >= config.warmup_seconds and runs >= config.warmup_runs:
            apart = stats.spread(medians[-3:])
            return (
                f"unstable: warm-up windows still differed by {100 * apart:.0f} % after {spent:.1f} s"
                if len(medians) >= 3
                else f"unstable: only {len(medians)} warm-up windows fitted into {spent:.1f} s"
            )


def time_point(
    lanes: Sequence[Lane], subject: Subject, point: Point, config: Config, earlier: int = 0
) -> dict[str, Timed]:
    """Interleaved timings of all candidates at one point.

    Args:
        lanes: of the candidates.
        subject: rows, rounds and runs.
        point: of the grid.
        config: of warm-up and tolerances.
        earlier: rounds that were measured earlier; the order goes on from there.
    """
    rounds, runs = subject.bench.rounds, subject.bench.runs
    key = f"latency {point}"
    notes: dict[str, list[str]] = {}
    unstable: dict[str, bool] = {}
    counts: dict[str, int] = {}
    for lane in lanes:
        lane_feeds = feeds.at(lane, subject, point, rounds * runs)
        lane.keep(key, lane_feeds.arrays)
        counts[lane.name] = len(lane_feeds.arrays)
        restless = warm_up(lane, key, len(lane_feeds.arrays), config)
        unstable[lane.name] = restless is not None
        remarks = (lane_feeds.note(), restless, lane.overhead(key).note())
        notes[lane.name] = [note for note in remarks if note]
        lane.disturbance = Disturbance()
    watched = devices.find(lanes[0].spec.device)
    before = watched.gpu.state() if watched else None
    generator = np.random.default_rng([subject.seed, 3, point.batch_size, earlier])
    durations: dict[str, list[np.ndarray]] = {lane.name: [] for lane in lanes}
    with log.progress(f"latency: {point}", rounds) as bar:
        for number in range(rounds):
            for lane in turns.shuffled(lanes, generator):
                order = [(number * runs + i) % counts[lane.name] for i in range(runs)]
                durations[lane.name].append(lane.turn(key, order, settle=order[:1] * _SETTLE))
            bar.advance()
    moved = devices.disturbances(before, watched.gpu.state()) if watched and before else None
    timed = {}
    for lane in lanes:
        lane.drop(key)
        noisy = lane.disturbance.note(config.disturbance)
        flags = Flags(unstable=unstable[lane.name], spoiled=moved)
        timed[lane.name] = Timed(
            samples=np.stack(durations[lane.name]) / 1e6,
            disturbed=lane.disturbance.share(),
            flags=flags,
            notes=(*notes[lane.name], *((noisy,) if noisy else ()), *flags.notes),
        )
    return timed


def _metric(q: float) -> str:
    return f"latency_p{q:g}_ms"


def figures(
    name: str, timed: dict[str, Timed], subject: Subject, point: Point, config: Config
) -> list[Measurement]:
    """The percentiles of one candidate, with intervals and ratios to the baseline."""
    timing, baseline = timed[name], timed[subject.baseline]
    count, rounds = timing.samples.size, len(timing.samples)
    draws = stats.resample_rounds(rounds, np.random.default_rng([subject.seed, 4]))
    flags, notes = timing.flags, timing.notes
    moved = stats.drift(timing.samples)
    if abs(moved) > config.tolerance:
        flags |= Flags(unstable=True)
        notes = (*notes, f"unstable: the later rounds took {100 * moved:+.0f} % against the earlier ones")
    left_out = [q for q in _PERCENTILES if not stats.supported(count, q)]
    if left_out:
        listed = ", ".join(f"p{q:g} (needs {stats.needed(q)})" for q in left_out)
        notes = (*notes, f"{count} runs do not carry {listed}")
    if rounds > subject.bench.rounds:
        notes = (*notes, f"{rounds} rounds: {subject.bench.rounds} did not tell whether the budget holds")
    measurements = []
    for q in _PERCENTILES:
        if q in left_out:
            continue
        ratio: float
        ratio_interval: Interval | None
        if name == subject.baseline:
            ratio, ratio_interval = 1.0, Interval(low=1.0, high=1.0)
        elif q == 50:
            ratio, ratio_interval = stats.ratio_of_medians(timing.samples, baseline.samples, draws)
        else:
            ratio, ratio_interval = stats.ratio_of_percentiles(timing.samples, baseline.samples, q, draws)
        measurements.append(
            Measurement(
                probe=PROBE,
                candidate=name,
                metric=_metric(q),
                value=stats.percentile(timing.samples, q),
                unit=UNIT,
                better=BETTER,
                interval=stats.percentile_interval(timing.samples, q, draws),
                ratio=ratio,
                ratio_interval=ratio_interval,
                conditions=point.conditions,
                samples=tuple(float(x) for x in timing.samples.ravel()) if q == 50 else (),
                rounds=rounds,
                disturbed=max(timing.disturbed, baseline.disturbed),
                flags=flags,
                notes=notes,
            )
        )
    return measurements


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Latency percentiles in ms of every candidate at every point of the grid."""
    measurements = []
    for point in feeds.points(subject):
        timed = time_point(lanes, subject, point, config)
        for lane in lanes:
            lane.memo["latency", point] = timed[lane.name]
            measurements += figures(lane.name, timed, subject, point, config)
    return measurements


def extend(
    lanes: Sequence[Lane], subject: Subject, config: Config, found: Sequence[Measurement], at: Sequence[Point]
) -> list[Measurement]:
    """The same figures from as many rounds again at some points; the earlier rounds are kept.

    Args:
        lanes: of the candidates.
        subject: rows, rounds and runs.
        config: of warm-up and tolerances.
        found: by ``measure`` or an earlier ``extend``.
        at: points that want more rounds; each was measured before.
    """
    fresh: list[Measurement] = []
    for point in at:
        before: dict[str, Timed] = {lane.name: lane.memo["latency", point] for lane in lanes}
        earlier = len(before[subject.baseline].samples)
        more = time_point(lanes, subject, point, config, earlier)
        timed = {name: timing.with_earlier(before[name]) for name, timing in more.items()}
        for lane in lanes:
            lane.memo["latency", point] = timed[lane.name]
            fresh += figures(lane.name, timed, subject, point, config)
    replaced = [point.conditions for point in at]
    unchanged = [
        measurement
        for measurement in found
        if measurement.probe != PROBE or measurement.conditions not in replaced
    ]
    return unchanged + fresh


def explanation(report: Report) -> str:
    """What was timed, in how many rounds, and what the intervals are."""
    counts = sorted(
        {
            measurement.rounds
            for measurement in report.measurements
            if measurement.probe == PROBE and measurement.rounds
        }
    )
    ends = dict.fromkeys((counts[0], counts[-1])) if counts else [report.config.rounds]
    rounds = " to ".join(map(str, ends))
    return (
        "Latency is the model alone (encoded arrays in, arrays out), measured inside each candidate's "
        "own process; tokenization is not in it. Candidates took turns in one run: "
        f"{rounds} rounds of {report.config.runs} runs, in an order shuffled anew each "
        "round. Speed-ups are medians of per-round ratios; intervals are 95 % bootstrap intervals over "
        "rounds. Milliseconds belong to this machine; ratios carry further."
    )
