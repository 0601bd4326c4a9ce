"""Load that does not wait, and clients that do."""

from __future__ import annotations

import time

import numpy as np
import pytest

from bench import load


def test_a_queue_charges_a_stall_to_everyone_who_waits() -> None:
    """By hand: arrivals every 10, service 5, one stall of 25; the three behind it wait, the last does not."""
    arrived = np.array([0, 10, 20, 30, 40, 70])
    service = np.array([5, 25, 5, 5, 5, 5])
    # Free at 5, 35, 40, 45, 50, 75.
    np.testing.assert_array_equal(load.queue(arrived, service), [5, 25, 20, 15, 10, 5])


def test_open_loop_measures_what_the_queue_predicts() -> None:
    """With a stalled request in real time, latencies follow the recursion; service times do not show it."""
    taken = [0.002, 0.030, 0.002, 0.002, 0.002]
    arrived = [0, 10_000_000, 20_000_000, 30_000_000, 80_000_000]
    latencies, service = load.open_loop(lambda index: time.sleep(taken[index]), arrived)
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
    seen: list[int] = []

    def serve(index: int) -> None:
        inside.append(index)
        seen.append(len(inside))
        time.sleep(0.002)
        inside.remove(index)

    latencies, taken = load.closed_loop(serve, 3, 0.03, together=together)
    assert max(seen) == most
    assert len(latencies) >= 3
    assert taken >= 30_000_000


def test_a_client_s_error_is_not_swallowed() -> None:
    """What goes wrong in a client's thread comes out."""

    def serve(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load.closed_loop(serve, 2, 0.01, together=True)
