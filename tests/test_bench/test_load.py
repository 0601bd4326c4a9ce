"""Load that does not wait, and clients that do."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bench.lanes import load
from bench.probes import closed_loop, open_loop
from bench.statistics import stats


def test_a_queue_charges_a_stall_to_everyone_who_waits() -> None:
    """By hand: arrivals every 10, service 5, one stall of 25; the three behind it wait, the last does not."""
    arrived = np.array([0, 10, 20, 30, 40, 70])
    service = np.array([5, 25, 5, 5, 5, 5])
    # Free at 5, 35, 40, 45, 50, 75.
    np.testing.assert_array_equal(load.queue(arrived, service), [5, 25, 20, 15, 10, 5])


def test_open_loop_measures_what_the_queue_predicts() -> None:
    """With a stalled request in real time, latencies follow the recursion; service times do not show it."""
    seconds = [0.002, 0.030, 0.002, 0.002, 0.002]
    arrived = [0, 10_000_000, 20_000_000, 30_000_000, 80_000_000]
    latencies, service = load.open_loop(lambda index: time.sleep(seconds[index]), arrived)
    assert len(latencies) == len(service) == 5
    predicted = load.queue(np.array(arrived), np.array(service))
    # The watch wakes late at times, never early.
    assert (np.array(latencies) >= predicted - 1_000_000).all()
    # A request that came during the stall waited for it, though it was served in no time.
    assert latencies[2] > service[2] + 15_000_000


def test_arrivals_have_the_rate_that_was_asked() -> None:
    """Even arrivals are a fixed gap apart; random ones have that gap on average and vary as much."""
    even = load.arrivals(50, 4, np.random.default_rng(0), poisson=False)
    np.testing.assert_array_equal(even, [0, 20_000_000, 40_000_000, 60_000_000])
    gaps = np.diff(load.arrivals(50, 4000, np.random.default_rng(0), poisson=True))
    assert gaps.mean() == pytest.approx(2e7, rel=0.05)
    assert gaps.std() == pytest.approx(2e7, rel=0.05)


@pytest.mark.parametrize(("together", "most"), [(False, 1), (True, 3)])
def test_clients_that_queue_are_served_one_at_a_time(together: bool, most: int) -> None:
    """A runner that takes one request at a time never sees two; one that takes several does."""
    inside: list[int] = []
    occupancy: list[int] = []

    def serve(index: int) -> None:
        inside.append(index)
        occupancy.append(len(inside))
        time.sleep(0.002)
        inside.remove(index)

    latencies, elapsed = load.closed_loop(serve, 3, 0.03, together=together)
    assert max(occupancy) == most
    assert len(latencies) >= 3
    assert elapsed >= 30_000_000


def test_a_client_s_error_is_not_swallowed() -> None:
    """What goes wrong in a client's thread comes out."""

    def serve(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load.closed_loop(serve, 2, 0.01, together=True)


def windows(
    busy: float, count: int, requests: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latencies of a simulated queue with even service of 1 ms, time at work and length of each window."""
    generator = np.random.default_rng(seed)
    service = np.full(requests, 1_000_000)
    latencies, spans = [], []
    for _ in range(count):
        arrived = load.arrivals(busy * 1000, requests, generator, poisson=True)
        latencies.append(load.queue(arrived, service))
        spans.append(arrived[-1] + latencies[-1][-1])
    return np.array(latencies) / 1e6, np.full(count, service.sum()), np.array(spans)


@pytest.mark.parametrize("busy", [0.7, 0.85])
def test_a_queue_settles_after_so_many_requests(busy: float) -> None:
    """The mean latency of windows that long is within some 10 % of the lasting one, and below it."""
    lasting = 1 + busy / (2 * (1 - busy))  # of random arrivals and even service (Pollaczek and Khinchine)
    latencies, _, _ = windows(busy, 600, round(load.settling(busy)))
    assert 0.85 * lasting < latencies.mean() < 0.97 * lasting


@pytest.mark.parametrize(
    ("busy", "random", "noted"),
    [(0.5, True, False), (0.9, True, True), (0.9, False, False)],
)
def test_latency_near_saturation_is_said_to_depend_on_the_window(
    busy: float, random: bool, noted: bool
) -> None:
    """With how many requests would be enough; not where arrivals are even, which make no such queue."""
    latencies, service, spans = windows(busy, 5, 100)
    draws = stats.resample_rounds(5, np.random.default_rng(1), 200)
    figures = open_loop.figures(
        "a", {"a": latencies}, {"a": service}, {"a": spans}, "a", {}, draws, random=random
    )
    by_metric = {figure.metric: figure for figure in figures}
    notes = by_metric["open_loop_p50_ms"].notes
    assert any("near saturation: each window begins with an empty queue" in note for note in notes) is noted
    assert by_metric["open_loop_p50_ms"].flags.saturated is (busy > 0.95)
    share = by_metric["open_loop_busy"]
    assert share.interval is not None
    assert share.interval.low <= share.value <= share.interval.high
    assert share.value == pytest.approx(service.sum() / spans.sum())
    assert (share.ratio_interval and share.ratio_interval.low, share.rounds) == (1.0, 5)


def test_a_ratio_of_clients_latencies_has_an_interval() -> None:
    """Twice as slow in every window is twice as slow in every resample; noise makes it wide."""
    generator = np.random.default_rng(0)
    base = [generator.normal(10, 1, size=20 + window) for window in range(5)]
    draws = stats.resample_rounds(5, generator, 200)
    interval, ratio = closed_loop.window_intervals([2 * times for times in base], base, 50, draws)
    assert ratio is not None
    assert (ratio.low, ratio.high) == (pytest.approx(2), pytest.approx(2))
    assert interval is not None
    assert interval.low < interval.high
    _, noisy = closed_loop.window_intervals(
        [times[::-1] + 5 * i for i, times in enumerate(base)], base, 50, draws
    )
    assert noisy is not None
    assert noisy.high - noisy.low > 0.3
