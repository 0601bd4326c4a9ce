"""From a session and a clock to figures with their flags: warm-up, sampling loops, summaries.

Three times are kept apart: what the device needed for one inference whose inputs lie
on it (``gpu_ms`` by events, or ``cpu_ms`` on a CPU), what the host needed to enqueue it
(``enqueue_ms``), and copy in, run, copy out and wait (``e2e_ms``). Rates are a run of their own, without
waiting between inferences. The limits of ``host_bound`` and ``unstable`` are those of trtexec
(samples/common/sampleReporting.cpp).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from studies.gpu.plan import Sampling

UNSTABLE = 0.025
HOST_BOUND = 0.8
# As in bench.statistics.stats: a percentile is stated plainly when at least five samples lie beyond it.
_BEYOND = 5
_RATE_WINDOWS = 5


class Session(Protocol):
    """One model opened for one shape, with several input sets on the host."""

    sets: int

    def load(self, index: int) -> None:
        """Queue the copy of an input set to the device."""
        ...

    def enqueue(self) -> None:
        """Queue one inference on the inputs that lie on the device."""
        ...

    def fetch(self) -> None:
        """Queue the copy of the outputs to the host."""
        ...

    def synchronize(self) -> None:
        """Wait for everything queued."""
        ...


class Clock(Protocol):
    """Takes the time of one inference."""

    name: str

    def time(self, session: Session) -> tuple[float, float | None]:
        """Milliseconds of the device, and of the host's part where that is another thing."""
        ...


class HostClock:
    """For devices without a queue: the time of the call itself."""

    name = "cpu_ms"

    def time(self, session: Session) -> tuple[float, float | None]:
        """Around the call."""
        started = time.perf_counter_ns()
        session.enqueue()
        session.synchronize()
        return (time.perf_counter_ns() - started) / 1e6, None


class Event(Protocol):
    """A mark in the device's queue."""

    def record(self) -> None:
        """Queue the mark."""
        ...

    def synchronize(self) -> None:
        """Wait until the device passed it."""
        ...

    def elapsed_ms(self, later: Any) -> float:
        """Device time from this mark to a later one."""
        ...


class EventClock:
    """Device events around one enqueue; the host's clock around the enqueue alone."""

    name = "gpu_ms"

    def __init__(self, make: Callable[[], Event]) -> None:
        self._start, self._end = make(), make()

    def time(self, session: Session) -> tuple[float, float | None]:
        """Mark, enqueue, mark, wait for the second mark."""
        self._start.record()
        started = time.perf_counter_ns()
        session.enqueue()
        enqueued = time.perf_counter_ns() - started
        self._end.record()
        self._end.synchronize()
        return self._start.elapsed_ms(self._end), enqueued / 1e6


@dataclass(frozen=True)
class Samples:
    """What one loop took, all in milliseconds; ``enqueue`` is empty where the clock has none."""

    device: list[float]
    enqueue: list[float]


def summarize(samples: Sequence[float]) -> dict[str, Any]:
    """The figures of some samples.

    Returns:
        ``n min mean p50 p90 p95 p99 cv flags``. The coefficient of variation is of the sample (n - 1).
        Flags: ``unstable`` (above 2.5 %), and ``pNN_from_few`` for a percentile with fewer than five
        samples beyond it.

    Raises:
        ValueError: no samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if not values.size:
        raise ValueError("no samples: nothing was measured")
    mean = float(values.mean())
    cv = float(values.std(ddof=1) / mean) if values.size > 1 and mean > 0 else 0.0
    flags = ["unstable"] if cv > UNSTABLE else []
    flags += [f"p{q}_from_few" for q in (90, 95, 99) if values.size * (100 - q) < 100 * _BEYOND]
    percentiles = {f"p{q}": float(np.percentile(values, q)) for q in (50, 90, 95, 99)}
    return {"n": int(values.size), "min": float(values.min()), "mean": mean, **percentiles, "cv": cv,
            "flags": flags}  # fmt: skip


def warm_up(session: Session, sampling: Sampling) -> int:
    """Run until both time and count are reached; the number of runs."""
    runs, started = 0, time.perf_counter()
    while runs < sampling.warm_runs or time.perf_counter() - started < sampling.warm_seconds:
        session.load(runs % session.sets)
        session.enqueue()
        session.synchronize()
        runs += 1
    return runs


def _until_enough(sampling: Sampling, once: Callable[[int], None]) -> None:
    started, runs = time.perf_counter(), 0
    while True:
        once(runs)
        runs += 1
        spent = time.perf_counter() - started
        if (runs >= sampling.runs and spent >= sampling.seconds) or spent >= sampling.most_seconds:
            return


def sample_device(session: Session, clock: Clock, sampling: Sampling) -> Samples:
    """Inference alone: the inputs are there, and no copy of them is in flight, before the clock starts."""
    device: list[float] = []
    enqueue: list[float] = []

    def once(run: int) -> None:
        session.load(run % session.sets)
        session.synchronize()
        taken, queued = clock.time(session)
        device.append(taken)
        if queued is not None:
            enqueue.append(queued)

    _until_enough(sampling, once)
    return Samples(device, enqueue)


def sample_end_to_end(session: Session, sampling: Sampling) -> list[float]:
    """Copy in, run, copy out, wait: milliseconds on the host's clock."""
    taken: list[float] = []

    def once(run: int) -> None:
        started = time.perf_counter_ns()
        session.load(run % session.sets)
        session.enqueue()
        session.fetch()
        session.synchronize()
        taken.append((time.perf_counter_ns() - started) / 1e6)

    _until_enough(sampling, once)
    return taken


def rate_runs(expected_ms: float, seconds: float) -> int:
    """Inferences in one window of ``sample_rate``."""
    return int(min(5000, max(10, seconds * 1000 / max(expected_ms, 1e-3))))


def sample_rate(session: Session, rows: int, expected_ms: float, seconds: float) -> list[float]:
    """Rows a second of some windows, with no wait inside a window."""
    runs = rate_runs(expected_ms, seconds)
    rates = []
    for _ in range(_RATE_WINDOWS):
        session.synchronize()
        started = time.perf_counter()
        for _ in range(runs):
            session.enqueue()
        session.synchronize()
        rates.append(runs * rows / (time.perf_counter() - started))
    return rates


def is_host_bound(samples: Samples) -> bool:
    """Whether the host needs nearly as long to enqueue as the device to compute."""
    if not samples.enqueue:
        return False
    return float(np.median(samples.enqueue)) > HOST_BOUND * float(np.median(samples.device))
