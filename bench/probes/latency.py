"""Time of one inference: p50, p95 and p99, at every batch size and length, candidates in turns.

What is timed is the model alone: ``Runner.infer`` on encoded arrays and ``sync``, inside the candidate's own
process. Tokenization and message passing are not in it. Every round gives each candidate one turn,
in an order shuffled anew, on the same rows; ratios are formed by round, so that a machine whose speed
wanders moves both sides alike. A percentile is stated only where the sample carries it (p99: 500 runs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bench import feeds, stats
from bench.feeds import Point
from bench.lanes import Lane
from bench.probes import Subject
from bench.record import Measurement
from compress import log

UNIT = "ms"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False

_PERCENTILES = (50.0, 95.0, 99.0)
_WINDOW = 8
_SETTLE = 2


class Config(BaseModel):
    """Options.

    Attributes:
        warmup_seconds: warm-up goes on until its windows agree, at most this long.
        warmup_runs: and at least this many runs.
        tolerance: how far the medians of three windows may lie apart to agree; also how far the later
            rounds may drift from the earlier ones before a figure is called unstable.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    warmup_seconds: float = Field(default=3.0, gt=0)
    warmup_runs: int = Field(default=20, ge=1)
    tolerance: float = Field(default=0.1, gt=0)


@dataclass(frozen=True)
class Timed:
    """Timings of one candidate at one point.

    Attributes:
        samples: milliseconds, [rounds, runs].
        notes: what a reader must know of them.
    """

    samples: np.ndarray
    notes: tuple[str, ...]


def warm_up(lane: Lane, key: str, count: int, config: Config) -> str | None:
    """Run until three windows agree; a note where they did not within the time that is given."""
    medians: list[float] = []
    spent = runs = 0.0
    while True:
        order = [int(runs + i) % count for i in range(_WINDOW)]
        taken = lane.turn(key, order)
        runs += _WINDOW
        spent += float(taken.sum()) / 1e9
        medians.append(float(np.median(taken)))
        if runs >= config.warmup_runs and stats.is_stable(medians, tolerance=config.tolerance):
            return None
        if spent >= config.warmup_seconds and runs >= config.warmup_runs:
            apart = stats.spread(medians[-3:])
            return (
                f"unstable: warm-up windows still differed by {100 * apart:.0f} % after {spent:.1f} s"
                if len(medians) >= 3
                else f"unstable: only {len(medians)} warm-up windows fitted into {spent:.1f} s"
            )


def time_point(lanes: Sequence[Lane], subject: Subject, point: Point, config: Config) -> dict[str, Timed]:
    """Interleaved timings of all candidates at one point."""
    rounds, runs = subject.bench.rounds, subject.bench.runs
    key = f"latency {point}"
    notes: dict[str, list[str]] = {}
    counts: dict[str, int] = {}
    for lane in lanes:
        made = feeds.at(lane, subject, point, rounds * runs)
        lane.keep(key, made.arrays)
        counts[lane.name] = len(made.arrays)
        said = (made.note(), warm_up(lane, key, len(made.arrays), config))
        notes[lane.name] = [note for note in said if note]
    generator = np.random.default_rng([subject.seed, 3, point.batch_size])
    taken: dict[str, list[np.ndarray]] = {lane.name: [] for lane in lanes}
    with log.progress(f"latency: {point}", rounds) as bar:
        for number in range(rounds):
            for which in generator.permutation(len(lanes)):
                lane = lanes[int(which)]
                order = [(number * runs + i) % counts[lane.name] for i in range(runs)]
                taken[lane.name].append(lane.turn(key, order, settle=order[:1] * _SETTLE))
            bar.advance()
    for lane in lanes:
        lane.drop(key)
    done = {}
    for lane in lanes:
        samples = np.stack(taken[lane.name]) / 1e6
        moved = stats.drift(samples)
        if abs(moved) > config.tolerance:
            notes[lane.name].append(
                f"unstable: the later rounds took {100 * moved:+.0f} % against the earlier ones"
            )
        done[lane.name] = Timed(samples=samples, notes=tuple(notes[lane.name]))
    return done


def figures(
    name: str, timed: dict[str, Timed], baseline: str, point: Point, draws: np.ndarray
) -> list[Measurement]:
    """The percentiles of one candidate, with intervals and ratios to the baseline."""
    own, other = timed[name], timed[baseline]
    count = own.samples.size
    left_out = [q for q in _PERCENTILES if not stats.supported(count, q)]
    notes = own.notes
    if left_out:
        listed = ", ".join(f"p{q:.0f} (needs {stats.needed(q)})" for q in left_out)
        notes = (*notes, f"{count} runs do not carry {listed}")
    found = []
    for q in _PERCENTILES:
        if q in left_out:
            continue
        if q == 50:
            ratio, ratio_interval = stats.ratio_of_medians(own.samples, other.samples, draws)
        else:
            ratio, ratio_interval = stats.ratio_of_percentiles(own.samples, other.samples, q, draws)
        found.append(
            Measurement(
                probe="latency",
                candidate=name,
                metric=f"latency_p{q:.0f}_ms",
                value=stats.percentile(own.samples, q),
                unit=UNIT,
                better=BETTER,
                interval=stats.percentile_interval(own.samples, q, draws),
                ratio=ratio,
                ratio_interval=ratio_interval,
                conditions=point.conditions,
                samples=tuple(float(x) for x in own.samples.ravel()) if q == 50 else (),
                notes=notes,
            )
        )
    return found


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Latency percentiles in ms of every candidate at every point of the grid."""
    generator = np.random.default_rng([subject.seed, 4])
    draws = stats.resample_rounds(subject.bench.rounds, generator)
    found = []
    for point in feeds.points(subject):
        timed = time_point(lanes, subject, point, config)
        for lane in lanes:
            found += figures(lane.name, timed, subject.baseline, point, draws)
    return found
