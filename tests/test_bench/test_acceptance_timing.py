"""Times are taken by the protocol, kept apart, and summarized with their flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from studies.gpu import timing
from studies.gpu.plan import Sampling

FEW = Sampling(warm_seconds=0.0, warm_runs=2, seconds=0.0, runs=3, most_seconds=5.0)


class Log:
    """A session and its events that write down what is called, in order."""

    sets = 2

    def __init__(self) -> None:
        self.calls: list[str] = []

    def load(self, index: int) -> None:
        self.calls.append(f"load {index}")

    def enqueue(self) -> None:
        self.calls.append("enqueue")

    def fetch(self) -> None:
        self.calls.append("fetch")

    def synchronize(self) -> None:
        self.calls.append("wait")

    def event(self) -> Any:
        log = self

        class Event:
            def record(self) -> None:
                log.calls.append("mark")

            def synchronize(self) -> None:
                log.calls.append("wait for mark")

            def elapsed_ms(self, later: Any) -> float:
                assert later is not self
                log.calls.append("elapsed")
                return 2.5

        return Event()


def test_figures_of_known_samples() -> None:
    """Minimum, mean, percentiles and the sample's coefficient of variation are what a hand computes."""
    found = timing.summarize([1.0, 2.0, 3.0, 4.0])
    assert (found["n"], found["min"], found["mean"], found["p50"]) == (4, 1.0, 2.5, 2.5)
    assert found["p90"] == pytest.approx(3.7)
    assert found["cv"] == pytest.approx(np.sqrt(5 / 3) / 2.5)
    assert found["flags"] == ["unstable", "p90_from_few", "p95_from_few", "p99_from_few"]


@pytest.mark.parametrize(("count", "few"), [(49, 3), (50, 2), (99, 2), (100, 1), (499, 1), (500, 0)])
def test_percentiles_from_few_samples_are_flagged(count: int, few: int) -> None:
    """A percentile is plain when five samples lie beyond it: p90 from 50, p95 from 100, p99 from 500."""
    assert len(timing.summarize([1.0] * count)["flags"]) == few


def test_a_quiet_series_is_stable_and_a_noisy_one_is_not() -> None:
    """The border is a variation of 2.5 %."""
    quiet = [1.0, 1.01] * 300
    assert timing.summarize(quiet)["flags"] == []
    assert timing.summarize([1.0, 1.1] * 300)["flags"] == ["unstable"]


def test_nothing_measured_is_no_figure() -> None:
    """An empty series is refused instead of becoming NaN."""
    with pytest.raises(ValueError, match="no samples"):
        timing.summarize([])


def test_events_bracket_the_enqueue_and_nothing_else() -> None:
    """Mark, enqueue, mark, wait for the second mark, then read: no copy and no other wait in between."""
    session = Log()
    clock = timing.EventClock(session.event)
    device, host = clock.time(session)
    assert session.calls == ["mark", "enqueue", "mark", "wait for mark", "elapsed"]
    assert device == 2.5
    assert host is not None
    assert 0 <= host < 1000


def test_inputs_are_there_before_the_clock_starts() -> None:
    """Each run copies another input set and waits for it first; sets take turns."""
    session = Log()
    samples = timing.sample_device(session, timing.EventClock(session.event), FEW)
    one = ["wait", "mark", "enqueue", "mark", "wait for mark", "elapsed"]
    assert session.calls == ["load 0", *one, "load 1", *one, "load 0", *one]
    assert samples.device == [2.5] * 3
    assert len(samples.enqueue) == 3


def test_end_to_end_holds_both_copies() -> None:
    """Copy in, run, copy out, wait, with nothing in between."""
    session = Log()
    taken = timing.sample_end_to_end(session, FEW)
    assert session.calls[:4] == ["load 0", "enqueue", "fetch", "wait"]
    assert len(taken) == 3


def test_rates_wait_only_at_the_ends_of_a_window() -> None:
    """Ten inferences a window at least, and no wait between them."""
    session = Log()
    rates = timing.sample_rate(session, rows=4, expected_ms=50.0, seconds=0.1)
    window = ["wait", *["enqueue"] * 10, "wait"]
    assert session.calls == window * len(rates)
    assert all(rate > 0 for rate in rates)


def test_warm_up_reaches_time_and_count() -> None:
    """Both must be reached."""
    assert timing.warm_up(Log(), FEW) == 2
    assert timing.warm_up(Log(), Sampling(warm_seconds=0.02, warm_runs=1)) > 2


def test_sampling_ends_at_its_limit_whatever_was_reached() -> None:
    """A slow session gives fewer runs than asked for, and ``n`` says so."""
    slow = Sampling(seconds=0.0, runs=10**9, most_seconds=0.02)
    samples = timing.sample_device(Log(), timing.HostClock(), slow)
    assert 1 <= len(samples.device) < 10**9


@pytest.mark.parametrize(("enqueue", "bound"), [(0.81, True), (0.79, False)])
def test_host_bound_is_enqueue_above_four_fifths_of_the_device(enqueue: float, bound: bool) -> None:
    """By the medians; without an enqueue time there is no such flag."""
    assert timing.is_host_bound(timing.Samples([1.0, 1.0, 9.0], [enqueue] * 3)) is bound
    assert not timing.is_host_bound(timing.Samples([1.0], []))


def test_the_host_clock_has_no_enqueue_time() -> None:
    """On a CPU there is one time, and it is not called GPU time."""
    device, host = timing.HostClock().time(Log())
    assert device >= 0
    assert host is None
    assert timing.HostClock.name == "cpu_ms"
