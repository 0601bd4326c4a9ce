"""Which units stay: by hand on small cases, and against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.pruning.choice import (
    Pool,
    allowed_counts,
    best_layers,
    best_units,
    choose,
    layer_scores,
)


def pool(name: str, scores: list[float], **options: float) -> Pool:
    """A pool that was never pruned before."""
    return Pool(name, tuple(scores), **{"cost": 1.0, "whole": len(scores), **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("units", "multiple", "minimum", "expected"),
    [
        (4, 1, 1, [1, 2, 3, 4]),
        (100, 32, 8, [32, 64, 96, 100]),
        (64, 32, 8, [32, 64]),
        (10, 1, 8, [8, 9, 10]),
        (6, 1, 8, [6]),
        (20, 32, 8, [20]),
        (64, 32, 33, [64]),
    ],
)
def test_allowed_counts(units: int, multiple: int, minimum: int, expected: list[int]) -> None:
    """Counts are multiples from the minimum on, and all of the units."""
    assert allowed_counts(units, multiple, minimum) == expected


def test_best_units_keeps_order_and_breaks_ties_by_index() -> None:
    """The best stay in ascending order; among equals the first one does."""
    assert best_units([0.1, 0.9, 0.5, 0.5], 2) == (1, 2)
    assert best_units([1.0, 1.0, 1.0], 2) == (0, 1)


def test_uniform_rounds_down_and_respects_the_minimum() -> None:
    """Each part keeps its own share, rounded down to an allowed count, never below the minimum."""
    pools = [
        pool("a", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        pool("b", [3, 1, 2]),
        pool("c", [1.0] * 64, multiple=32, minimum=8),
    ]
    choice = choose(pools, 0.3, "uniform")
    assert choice["a"] == (7, 8, 9), "0.3 of 10 is 3, whatever floating point says"
    assert choice["b"] == (0,)
    assert len(choice["c"]) == 32
    assert choose(pools, 1.0, "uniform") == {"a": tuple(range(10)), "b": (0, 1, 2), "c": tuple(range(64))}


def test_shares_refer_to_the_whole_part() -> None:
    """In a later round, a part that was cut to 6 of 10 still counts as 10."""
    choice = choose([pool("a", [1, 2, 3, 4, 5, 6], whole=10)], 0.4, "uniform")
    assert choice["a"] == (2, 3, 4, 5)
    choice = choose([pool("a", [1, 2, 3, 4, 5, 6], whole=10)], 0.4, "global")
    assert choice["a"] == (2, 3, 4, 5)


def test_global_moves_the_budget_to_the_better_part() -> None:
    """Half of eight units: the strong part keeps three, the weak one its minimum."""
    choice = choose([pool("weak", [1, 2, 3, 4]), pool("strong", [10, 20, 30, 5])], 0.5, "global")
    assert choice == {"weak": (3,), "strong": (0, 1, 2)}


def test_global_fills_whole_steps() -> None:
    """With steps of 2, a pair competes by its sum, and the budget is never passed."""
    pools = [
        pool("a", [9, 1, 1, 1], multiple=2, minimum=2),
        pool("b", [4, 4, 4, 4], multiple=2, minimum=2),
    ]
    assert choose(pools, 0.75, "global") == {"a": (0, 1), "b": (0, 1, 2, 3)}
    assert choose(pools, 0.7, "global") == {"a": (0, 1), "b": (0, 1)}


def test_joint_weighs_worth_by_cost() -> None:
    """A head that is worth three neurons and costs four loses to them."""
    heads = pool("heads", [10, 3], cost=4.0)
    neurons = pool("ffn", [5.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5])
    choice = choose([heads, neurons], 0.5, "joint")
    assert choice == {"heads": (0,), "ffn": (0, 1, 2, 3)}


def test_the_minimum_wins_over_the_budget() -> None:
    """A share that is too small for the minimums keeps the minimums."""
    pools = [pool("a", [1, 2, 3], minimum=2), pool("b", [1, 2, 3], minimum=2)]
    assert choose(pools, 0.1, "global") == {"a": (1, 2), "b": (1, 2)}


@pytest.mark.parametrize("seed", range(6))
def test_global_is_optimal_for_equal_costs(seed: int) -> None:
    """With equal costs and single steps, no other choice within the budget is worth more."""
    source = np.random.default_rng(seed)
    pools = [pool(str(i), source.random(4).tolist()) for i in range(3)]
    choice = choose(pools, 0.5, "global")
    best = max(
        sum(sum(sorted(p.scores)[4 - c :]) for p, c in zip(pools, counts, strict=True))
        for counts in itertools.product(range(1, 5), repeat=3)
        if sum(counts) <= 6
    )
    assert sum(p.scores[u] for p in pools for u in choice[p.name]) == pytest.approx(best)
    assert sum(map(len, choice.values())) == 6


def test_choice_does_not_depend_on_unit_order() -> None:
    """Permuting a part's units permutes what stays."""
    source = np.random.default_rng(1)
    scores = source.random(10)
    order = source.permutation(10)
    choice = choose([pool("a", scores.tolist()), pool("b", source.random(10).tolist())], 0.4, "global")
    source = np.random.default_rng(1)
    source.random(10), source.permutation(10)
    again = choose([pool("a", scores[order].tolist()), pool("b", source.random(10).tolist())], 0.4, "global")
    assert sorted(order[list(again["a"])]) == list(choice["a"])


def test_layer_scores_share_out_each_kind() -> None:
    """A layer counts by its share of the heads' scores and its share of the neurons' scores."""
    scores = layer_scores([[1, 1], [2, 4]], [[100, 200], [100, 0]])
    assert scores == pytest.approx([2 / 8 + 300 / 400, 6 / 8 + 100 / 400])
    assert layer_scores([[0.0], [0.0]], [[1.0], [3.0]]) == pytest.approx([0.75, 1.25])
    assert best_layers(scores, 1) == (0,)
    assert best_layers([0.1, 0.2], 0) == (1,), "one layer always stays"
