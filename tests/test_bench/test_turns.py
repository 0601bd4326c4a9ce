"""Every candidate has one turn a round, in an order that follows from the seed."""

from __future__ import annotations

import numpy as np

from bench.lanes import turns


def test_every_lane_has_one_turn_a_round() -> None:
    """The order differs between rounds, and none is left out."""
    generator = np.random.default_rng(0)
    rounds = [tuple(turns.shuffled("abcd", generator)) for _ in range(40)]
    assert all(sorted(order) == ["a", "b", "c", "d"] for order in rounds)
    assert len(set(rounds)) > 10
    assert {order[0] for order in rounds} == {"a", "b", "c", "d"}


def test_the_order_follows_from_the_seed() -> None:
    """The orders that reports were measured in before: a seed goes on meaning the same."""
    generator = np.random.default_rng([7, 3, 1, 0])
    orders = ["".join(turns.shuffled("abc", generator)) for _ in range(6)]
    assert orders == ["acb", "cab", "bac", "cab", "cba", "abc"]
