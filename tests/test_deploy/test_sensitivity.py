"""Sensitivity: the search leaves out the worst products, no more than needed, and says what it saw."""

from __future__ import annotations

from deploy.precision import sensitivity

COST = {"a": 0.1, "b": 0.02, "c": 0.005, "d": 0.001}


def _additive(names: frozenset[str]) -> float:
    return sum(COST[name] for name in names)


def test_the_worst_are_left_out_until_the_goal() -> None:
    """With additive costs, leaving out the largest two reaches 0.01."""
    choice = sensitivity.leave_out(list(COST), _additive, target=0.01, at_most=4)
    assert choice.keep_float == ("a", "b")
    assert list(choice.alone) == ["a", "b", "c", "d"]
    assert choice.alone["a"] == 0.1
    assert [round(x, 6) for x in choice.curve] == [0.126, 0.026, 0.006]
    assert choice.reached


def test_nothing_is_left_out_when_all_is_close_enough() -> None:
    """One measurement suffices where the whole is within the goal."""
    calls = []

    def measure(names: frozenset[str]) -> float:
        calls.append(names)
        return _additive(names)

    choice = sensitivity.leave_out(list(COST), measure, target=0.2, at_most=4)
    assert (choice.keep_float, choice.alone, choice.reached) == ((), {}, True)
    assert calls == [frozenset(COST)]


def test_the_limit_holds_and_the_miss_is_said() -> None:
    """At most one may stay float here; the goal is missed and the result says so."""
    choice = sensitivity.leave_out(list(COST), _additive, target=0.01, at_most=1)
    assert choice.keep_float == ("a",)
    assert not choice.reached


def test_products_left_out_for_nothing_are_taken_back() -> None:
    """Where leaving more out makes it worse, the best prefix is kept."""
    curve = {4: 0.5, 3: 0.2, 2: 0.4, 1: 0.45, 0: 0.5}
    choice = sensitivity.leave_out(
        list(COST), lambda s: curve[len(s)] if len(s) > 1 else COST[min(s)], target=0.01, at_most=2
    )
    assert choice.keep_float == ("a",)
    assert choice.curve == (0.5, 0.2, 0.4)
    assert not choice.reached
