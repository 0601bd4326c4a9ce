"""Samples without spread, two rows, empty cells: nothing divides by zero, and nothing is made too sure of."""

from __future__ import annotations

import numpy as np
import pytest

from bench.answers import slicing
from bench.record.model import Interval
from bench.statistics import paired, stats
from bench.verdicts import decision, regression


@pytest.mark.parametrize(("factor", "status"), [(1.0, "pass"), (1.05, "pass"), (1.051, "fail")])
def test_runs_without_spread_are_judged_exactly(factor: float, status: str) -> None:
    """Every run takes the same time: the interval has no width, and the limit itself still holds."""
    baseline = np.full((20, 8), 2.0)
    draws = stats.resample_rounds(20, np.random.default_rng(0))
    value, interval = stats.ratio_of_medians(factor * baseline, baseline, draws)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(factor), pytest.approx(factor))
    assert decision.settle(value, interval, 1.05, unchanged=1.0) == status


def test_windows_without_spread_are_stable() -> None:
    """No spread is no instability, and no drift."""
    assert stats.is_stable([3.0] * 5)
    assert stats.spread([3.0] * 5) == 0
    assert stats.drift(np.full((20, 8), 2.0)) == pytest.approx(0)


def test_starts_without_spread_give_an_interval_without_width() -> None:
    """Student's interval of equal seconds is the figure; one start alone has none."""
    assert regression.around(1.5, (2.0, 2.0, 2.0)) == Interval(low=1.5, high=1.5)
    assert regression.around(1.5, (2.0,)) is None


def test_models_that_are_always_right_are_still_not_known_to_be_equal() -> None:
    """No row differs, so the difference is 0 and its p-value 1; how far that carries depends on the rows."""
    right = np.ones(872, dtype=bool)
    pair = paired.compare(right, right)
    assert (pair.worse, pair.better, pair.p_value) == (0, 0, 1)
    many, two = paired.tango(0, 0, 872), paired.tango(0, 0, 2)
    assert many.low < 0 < many.high < 0.005
    assert two.high > 0.5
    # At most one point lost: 872 equal rows show it, two do not.
    assert decision.settle(0.0, many, 0.01, unchanged=0.0) == "pass"
    assert decision.settle(0.0, two, 0.01, unchanged=0.0) == "inconclusive"


def test_a_metric_without_spread_has_an_interval_without_width() -> None:
    """Rows that all score the same resample to the same."""
    weights = stats.resample_weights(10, np.random.default_rng(0))
    drawn = weights.astype(np.float64) @ np.full(10, 0.5) / 10
    assert stats.interval(drawn) == Interval(low=0.5, high=0.5)


def test_empty_cells_are_a_slice_of_their_own_and_no_slice_is_empty() -> None:
    """A column with nothing in it is one slice; numbers that are all alike are none."""
    (empty,) = slicing.by_column("genre", [None, "", None])
    assert (empty.name, empty.mask.sum()) == (slicing.EMPTY, 3)
    assert slicing.quarters("year", np.full(9, 1999.0)) == []
    assert slicing.quarters("year", np.full(9, np.nan)) == []
    cuts = slicing.by_column("year", [*range(50), None])
    assert all(cut.mask.any() for cut in cuts)
    assert sum(int(cut.mask.sum()) for cut in cuts) == 50
