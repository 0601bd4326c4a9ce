"""Two models on the same rows: McNemar's test, Tango's interval, and how many rows would be enough."""

from __future__ import annotations

from math import comb, inf, log, sqrt

import numpy as np
import pytest

from bench.statistics import paired


@pytest.mark.parametrize(
    ("worse", "better", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (5, 1, 2 * (1 + 6) / 64),  # two tails of (6 over 0) + (6 over 1), out of 2^6
        (1, 5, 2 * (1 + 6) / 64),
        (10, 0, 2 / 1024),
        (4, 4, 1.0),
        (30, 12, 2 * sum(comb(42, k) for k in range(13)) / 2**42),
    ],
)
def test_mcnemar_is_the_exact_binomial_test(worse: int, better: int, p: float) -> None:
    """By hand: twice the tail of a fair coin on the differing rows."""
    assert paired.mcnemar(worse, better) == pytest.approx(p)


def test_mcnemar_agrees_with_scipy_on_many_rows() -> None:
    """With thousands of differing rows, nothing overflows and scipy says the same."""
    from scipy.stats import binomtest

    assert paired.mcnemar(4100, 3900) == pytest.approx(binomtest(3900, 8000).pvalue, rel=1e-6)


def test_only_differing_rows_are_counted() -> None:
    """Six rows: two that only the baseline gets right, one that only the candidate does."""
    candidate = np.array([1, 0, 0, 1, 1, 0], dtype=bool)
    baseline = np.array([1, 1, 1, 0, 1, 0], dtype=bool)
    comparison = paired.compare(candidate, baseline)
    assert (comparison.rows, comparison.worse, comparison.better) == (6, 2, 1)
    assert comparison.p_value == 1.0


def likelihood_score(worse: int, better: int, rows: int, difference: float) -> float:
    """Tango's statistic with the nuisance parameter found by search, not by his formula."""

    def term(count: int, share: float) -> float:
        return 0.0 if not count else -inf if share <= 0 else count * log(share)

    def log_likelihood(share: float) -> float:  # share: of rows that only the baseline gets right
        same = rows - worse - better
        return term(worse, share) + term(better, share + difference) + term(same, 1 - 2 * share - difference)

    low, high = max(0.0, -difference), (1 - difference) / 2
    for _ in range(200):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (a, high) if log_likelihood(a) < log_likelihood(b) else (low, b)
    share = (low + high) / 2
    return (better - worse - rows * difference) / sqrt(rows * (2 * share + difference * (1 - difference)))


@pytest.mark.parametrize(("worse", "better", "rows"), [(12, 4, 100), (2, 9, 50), (43, 34, 872), (3, 1, 20)])
def test_tango_ends_where_the_score_is_at_its_critical_value(worse: int, better: int, rows: int) -> None:
    """At both ends a score computed independently is 1.96, and the observed difference lies inside."""
    interval = paired.tango(worse, better, rows)
    assert likelihood_score(worse, better, rows, interval.low) == pytest.approx(1.959964, rel=1e-3)
    assert likelihood_score(worse, better, rows, interval.high) == pytest.approx(-1.959964, rel=1e-3)
    assert interval.low < (better - worse) / rows < interval.high


@pytest.mark.parametrize("rows", [2, 10, 872])
def test_without_any_differing_row_the_interval_still_has_width(rows: int) -> None:
    """By hand: with no flips the ends are z^2 / (n + z^2): 66 points for two rows, 0.4 points for 872."""
    z2 = 1.959964**2
    interval = paired.tango(0, 0, rows)
    assert interval.high == pytest.approx(z2 / (rows + z2), rel=1e-4)
    assert interval.low == pytest.approx(-interval.high, rel=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Simulated pairs, 6 % of rows worse and 4 % better: -2 points lie in the interval 95 % of the time."""
    generator = np.random.default_rng(0)
    draws = generator.multinomial(300, [0.06, 0.04, 0.9], size=400)
    inside = [
        interval.low <= -0.02 <= interval.high
        for interval in (paired.tango(int(worse), int(better), 300) for worse, better, _ in draws)
    ]
    assert 0.92 <= np.mean(inside) <= 0.98


def test_rows_that_would_be_enough_by_hand() -> None:
    """5 % of rows differ, no drop, 1 point allowed: (1.960 + 0.8416)^2 * 0.05 / 0.01^2 = 3,925 rows."""
    assert paired.rows_enough(0.0, 0.01, 0.05) == 3925
    # Half a point lost of one allowed: half the gap, four times the rows.
    assert paired.rows_enough(0.005, 0.01, 0.05) == pytest.approx(4 * 3925, abs=4)
    # A drop beyond the limit must exclude "no drop": the gap is the drop itself.
    assert paired.rows_enough(0.02, 0.01, 0.05) == pytest.approx(3925 / 4, abs=1)


def test_rows_enough_where_nothing_differs() -> None:
    """No flips at all: z^2 * 0.99 / 0.01 = 381 rows prove "at most 1 point"; nothing proves "none at all"."""
    assert paired.rows_enough(0.0, 0.01, 0.0) == 381
    assert paired.tango(0, 0, 381).high <= 0.01 < paired.tango(0, 0, 379).high
    assert paired.rows_enough(0.0, 0.0, 0.0) is None
    assert paired.rows_enough(0.01, 0.01, 0.05) is None


def test_that_many_rows_do_settle_it() -> None:
    """Simulated at the number that is named: about 80 % of evaluations end within the limit."""
    generator = np.random.default_rng(1)
    rows = paired.rows_enough(0.0, 0.02, 0.06)
    assert rows is not None
    draws = generator.multinomial(rows, [0.03, 0.03, 0.94], size=400)
    settled = [-paired.tango(int(worse), int(better), rows).low <= 0.02 for worse, better, _ in draws]
    assert 0.72 <= np.mean(settled) <= 0.88


def test_rows_travel_as_a_bitmap() -> None:
    """Nine rows need two bytes, and come back as nine."""
    right = np.array([1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=bool)
    assert paired.pack(right) == "8180"
    np.testing.assert_array_equal(paired.unpack("8180", 9), right)
