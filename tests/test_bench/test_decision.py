"""The rule from figure, interval and limit to a verdict."""

from __future__ import annotations

import numpy as np
import pytest

from bench.record.model import Interval, Status
from bench.statistics import stats
from bench.verdicts import decision


@pytest.mark.parametrize(
    ("value", "low", "high", "limit", "unchanged", "status"),
    [
        # A tolerance around "no change": 5 % slower is allowed.
        (1.00, 0.98, 1.04, 1.05, 1.0, "pass"),
        (1.02, 0.99, 1.06, 1.05, 1.0, "inconclusive"),
        (1.10, 1.03, 1.16, 1.05, 1.0, "fail"),  # beyond, and surely slower, if not surely by 5 %
        (1.10, 0.99, 1.20, 1.05, 1.0, "inconclusive"),
        (1.04, 1.01, 1.08, 1.05, 1.0, "inconclusive"),  # surely slower, and not beyond the limit
        # A goal of its own: a quarter of the time.
        (0.20, 0.18, 0.25, 0.25, None, "pass"),
        (0.27, 0.24, 0.30, 0.25, None, "inconclusive"),
        (0.30, 0.26, 0.33, 0.25, None, "fail"),
        # Points lost: 1 allowed.
        (0.2, -0.5, 0.9, 1.0, 0.0, "pass"),
        (1.5, 0.2, 2.8, 1.0, 0.0, "fail"),
        (1.5, 0.0, 3.0, 1.0, 0.0, "inconclusive"),
        # No width: exact figures decide.
        (1.0, 1.0, 1.0, 1.05, 1.0, "pass"),
        (2.0, 2.0, 2.0, 1.05, 1.0, "fail"),
    ],
)
def test_the_interval_decides(
    value: float, low: float, high: float, limit: float, unchanged: float | None, status: Status
) -> None:
    """Pass within, fail beyond and borne out, inconclusive between; the same from the other side."""
    interval = Interval(low=low, high=high)
    assert decision.settle(value, interval, limit, unchanged=unchanged) == status
    turned = Interval(low=-high, high=-low)
    mirrored = None if unchanged is None else -unchanged
    assert decision.settle(-value, turned, -limit, at_most=False, unchanged=mirrored) == status


def test_a_point_decides_alone_where_asked_or_where_it_is_exact() -> None:
    """``judge: point`` and figures without interval know no third answer."""
    wide = Interval(low=0.1, high=3.0)
    assert decision.settle(1.0, wide, 1.05, judge="point") == "pass"
    assert decision.settle(1.1, wide, 1.05, judge="point") == "fail"
    assert decision.settle(1.05, None, 1.05) == "pass"
    assert decision.settle(1.051, None, 1.05) == "fail"


@pytest.mark.parametrize(
    ("high", "status"),
    [
        (0.74, "pass"),
        (0.999, "pass"),
        (1.0, "inconclusive"),
        (1.0 + 1e-12, "inconclusive"),
        (1.01, "inconclusive"),
    ],
)
def test_a_widened_interval_passes_wholly_within_and_not_where_it_touches(
    high: float, status: Status
) -> None:
    """0.04 to 0.74 lies whole below 1x; one that ends on the limit does not tell. The same for at least."""
    interval = Interval(low=0.04, high=high)
    assert decision.settle(0.17, interval, 1.0, unchanged=1.0, widened=True) == status
    turned = Interval(low=-high, high=-0.04)
    assert decision.settle(-0.17, turned, -1.0, at_most=False, unchanged=-1.0, widened=True) == status
    assert decision.settle(0.17, Interval(low=0.04, high=1.0), 1.0, unchanged=1.0) == "pass"


def test_a_pass_that_is_not_trusted_stays_open() -> None:
    """A disturbed measurement cannot pass; it can fail."""
    narrow = Interval(low=1.0, high=1.04)
    assert decision.settle(1.02, narrow, 1.05, unchanged=1.0, trusted=False) == "inconclusive"
    slow = Interval(low=1.2, high=1.3)
    assert decision.settle(1.25, slow, 1.05, unchanged=1.0, trusted=False) == "fail"


def test_a_spoiled_measurement_settles_nothing() -> None:
    """Neither pass nor fail, however clear, and also where the figure alone would decide."""
    for value, judge in ((0.5, "interval"), (2.0, "interval"), (0.5, "point")):
        narrow = Interval(low=value - 0.01, high=value + 0.01)
        assert decision.settle(value, narrow, 1.0, judge=judge, spoiled=True) == "inconclusive"  # type: ignore[arg-type]


def test_a_figure_at_the_limit_holds_despite_rounding() -> None:
    """0.1 + 0.2 is at most 0.3, although not in binary; more is too much."""
    assert decision.within(0.1 + 0.2, 0.3)
    assert not decision.within(0.3001, 0.3)


@pytest.mark.parametrize(
    ("limit", "unchanged"), [(1.05, 1.0), (1.25, 1.0), (1.0, 1.0), (0.25, None), (2, None)]
)
def test_only_small_multiples_are_tolerances(limit: float, unchanged: float | None) -> None:
    """1x to 1.25x mean "as fast as before, give or take"; 0.25x and 2x are goals of their own."""
    assert decision.unchanged_ratio(limit) == unchanged


def test_equal_candidates_rarely_fail_and_slow_ones_never_pass() -> None:
    """On simulated timings with a wandering machine: false failures below 2 %, +20 % always found."""
    generator = np.random.default_rng(3)
    counts: dict[tuple[float, Status], int] = {}
    for _ in range(100):
        mood = np.exp(np.cumsum(generator.normal(0, 0.03, 20)))[:, None]
        draws = stats.resample_rounds(20, generator, 400)
        base, candidate = (mood * np.exp(generator.gamma(1.0, 0.03, (20, 8))) for _ in range(2))
        for slower in (1.0, 1.2):
            ratio, interval = stats.ratio_of_medians(slower * candidate, base, draws)
            status = decision.settle(ratio, interval, 1.05, unchanged=1.0)
            counts[slower, status] = counts.get((slower, status), 0) + 1
    assert counts.get((1.0, "fail"), 0) <= 2
    assert counts.get((1.0, "pass"), 0) >= 80
    assert counts[1.2, "fail"] == 100
