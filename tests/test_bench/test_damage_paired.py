"""Paired tests, intervals and corrections, against hand-computed cases and independent references."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize, stats

from bench.statistics import multiplicity, paired, resampling


def mean(totals: np.ndarray) -> float:
    """A mean from a sum and a count."""
    return float(totals[0] / totals[1])


def with_ones(values: list[float]) -> np.ndarray:
    """Row statistics of a mean."""
    return np.stack([np.array(values, dtype=float), np.ones(len(values))], axis=1)


@pytest.mark.parametrize(("b", "c", "p"), [(5, 1, 14 / 64), (0, 0, 1.0), (3, 3, 1.0), (0, 10, 2 / 1024)])
def test_mcnemar_counts_coins(b: int, c: int, p: float) -> None:
    """Six discordant rows, five one way: 2 (1 + 6) / 64; without any, nothing speaks against chance."""
    assert paired.mcnemar(b, c) == pytest.approx(p)
    if b + c:
        assert paired.mcnemar(b, c) == pytest.approx(stats.binomtest(b, b + c).pvalue)


def likelihood_score(b: int, c: int, n: int, difference: float) -> float:
    """The score statistic with the nuisance cell found by a numerical maximum of the likelihood."""
    low, high = max(0.0, -difference) + 1e-12, (1 - difference) / 2 - 1e-12

    def loss(q: float) -> float:
        remainder = 1 - 2 * q - difference
        return -(b * np.log(q) + c * np.log(q + difference) + (n - b - c) * np.log(remainder))

    q = float(
        optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    )
    return (c - b - n * difference) / np.sqrt(n * (2 * q + difference * (1 - difference)))


@pytest.mark.parametrize(("b", "c", "n"), [(12, 2, 50), (4, 9, 872), (1, 3, 20)])
def test_tango_ends_where_the_score_reaches_the_quantile(b: int, c: int, n: int) -> None:
    """At both limits, the score with a numerically maximized likelihood is the normal quantile."""
    interval = paired.tango(b, c, n)
    z = NormalDist().inv_cdf(0.975)
    assert interval.low < (c - b) / n < interval.high
    assert likelihood_score(b, c, n, interval.low) == pytest.approx(z, abs=2e-3)
    assert likelihood_score(b, c, n, interval.high) == pytest.approx(-z, abs=2e-3)


def test_tango_has_a_width_where_nothing_flipped() -> None:
    """Without a discordant row the limits are z^2 / (n + z^2) either way: twenty rows say little."""
    z2 = NormalDist().inv_cdf(0.975) ** 2
    interval = paired.tango(0, 0, 20)
    assert interval.high == pytest.approx(z2 / (20 + z2))
    assert interval.low == pytest.approx(-interval.high)
    assert paired.tango(2, 0, 2).low >= -1


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    """Four p-values, corrected on paper; the second also as scipy does it; order is kept."""
    p = [0.01, 0.04, 0.03, 0.005]
    assert multiplicity.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert multiplicity.benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert multiplicity.benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    assert multiplicity.holm([0.9]) == [0.9]
    assert multiplicity.holm([0.6, 0.7]) == [1.0, 1.0]


def test_randomization_nears_the_exact_test() -> None:
    """Against all 2^6 swaps of six rows; equal answers give exactly 1."""
    before, after = with_ones([1, 2, 3, 4, 5, 6]), with_ones([2, 4, 3.5, 5, 4.5, 9])
    difference = abs(mean(after.sum(axis=0)) - mean(before.sum(axis=0)))
    gaps = (after - before)[:, 0]
    exact = np.mean(
        [abs(np.dot(signs, gaps)) / 6 >= difference - 1e-12 for signs in itertools.product((1, -1), repeat=6)]
    )
    p = resampling.randomization(before, after, mean, np.random.default_rng(0), draws=20000)
    assert p == pytest.approx(exact, abs=0.01)
    assert resampling.randomization(before, before, mean, np.random.default_rng(0)) == 1.0


def test_draws_grow_with_the_questions() -> None:
    """As before for few; for many, what the correction multiplies stays small; blocks add up."""
    assert [resampling.draws_for(n) for n in (1, 5, 20, 50, 500)] == [2000, 2000, 8000, 20000, 20000]
    for count in (1, 5, 20, 50):
        assert count / (resampling.draws_for(count) + 1) <= 1 / 400
    for draws in (1, 1999, 2000, 2001, 8000):
        sizes = resampling.blocks(draws)
        assert sum(sizes) == draws
        assert max(sizes) <= resampling.DRAWS


def test_a_difference_of_resamples_is_paired() -> None:
    """A candidate that is always one better has the same difference in each resample."""
    before = with_ones([1, 5, 9])
    after = with_ones([2, 6, 10])
    weights = np.array([[1, 1, 1], [3, 0, 0], [0, 1, 2]])
    value, drawn = resampling.difference(before, after, mean, weights)
    assert value == 1
    assert drawn == pytest.approx(1)


def test_a_centered_interval_holds_its_figure() -> None:
    """Resamples that are all too large are shifted back; without any figure there is no interval."""
    interval = resampling.centered(0.1, np.linspace(0.3, 0.5, 101))
    assert interval is not None
    assert interval.low < 0.1 < interval.high
    assert interval.high - interval.low == pytest.approx(0.19)
    assert resampling.centered(0.1, np.full(3, np.nan)) is None
