"""Percentiles, intervals, stability and the Pareto front on known samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.record.model import Interval
from bench.statistics import stats


def generator(seed: int = 0) -> np.random.Generator:
    """A seeded source."""
    return np.random.default_rng(seed)


def test_percentiles_of_a_known_sample() -> None:
    """Percentiles of 1 to 101 are the numbers themselves, by straight line between neighbors."""
    sample = np.arange(1.0, 102.0)
    assert stats.percentile(sample, 50) == 51
    assert stats.percentile(sample, 95) == 96
    assert stats.percentile(np.array([1.0, 2.0]), 25) == 1.25


@pytest.mark.parametrize(("q", "count"), [(50, 1), (95, 100), (99, 500), (5, 100)])
def test_a_percentile_needs_five_samples_beyond_it(q: float, count: int) -> None:
    """p95 is stated from 100 samples on and p99 from 500, one less is not enough; the median from one on."""
    assert stats.needed(q) == count
    assert stats.supported(count, q)
    assert not stats.supported(count - 1, q)


def test_interval_is_the_middle_of_the_bootstrap_values() -> None:
    """The 90 % interval of 0 to 100 runs from 5 to 95."""
    interval = stats.interval(np.arange(101.0), level=0.9)
    assert interval is not None
    assert (interval.low, interval.high, interval.level) == (pytest.approx(5), pytest.approx(95), 0.9)


def test_interval_is_withheld_where_many_resamples_have_no_figure() -> None:
    """Up to 5 % undefined resamples are left out; more, and there is no interval."""
    values = np.ones(100)
    values[:5] = np.nan
    assert stats.interval(values) == Interval(low=1, high=1)
    values[:6] = np.nan
    assert stats.interval(values) is None
    assert stats.interval(np.full(3, np.nan)) is None


def test_ratio_of_medians_by_hand() -> None:
    """Per-round medians 2/1, 4/2, 9/3 give ratios 2, 2, 3: the median is 2."""
    candidate = np.array([[2.0, 2.0, 99.0], [4.0, 1.0, 4.0], [9.0, 9.0, 9.0]])
    baseline = np.array([[1.0, 1.0, 50.0], [2.0, 2.0, 0.1], [3.0, 3.0, 3.0]])
    draws = stats.resample_rounds(3, generator())
    value, interval = stats.ratio_of_medians(candidate, baseline, draws)
    assert value == 2
    assert interval == Interval(low=2, high=3)


def test_ratio_cancels_what_the_machine_does_to_a_round() -> None:
    """When every round is slowed by its own factor on both sides, the ratio and its interval stay exact."""
    mood = np.exp(generator(1).normal(size=(20, 1)))
    base = np.tile(np.array([1.0, 1.1, 1.2]), (20, 1))
    value, interval = stats.ratio_of_medians(
        3 * base * mood, base * mood, stats.resample_rounds(20, generator())
    )
    assert value == pytest.approx(3)
    assert interval is not None
    assert interval.low == pytest.approx(3)
    assert interval.high == pytest.approx(3)


def test_ratio_of_percentiles_takes_the_tail_of_all_runs() -> None:
    """The p95 ratio of a sample and its double is 2."""
    base = generator(2).lognormal(size=(20, 8))
    value, interval = stats.ratio_of_percentiles(2 * base, base, 95, stats.resample_rounds(20, generator()))
    assert value == pytest.approx(2)
    assert interval is not None
    assert interval.low == pytest.approx(2)


def test_ratio_interval_covers_the_truth() -> None:
    """Over 200 synthetic benchmarks with noisy rounds, the 95 % interval holds the true ratio 176 times."""
    source = generator(3)
    hits = 0
    for _ in range(200):
        mood = np.exp(source.normal(0, 0.3, size=(20, 1)))
        candidate = 1.1 * mood * np.exp(source.normal(0, 0.1, size=(20, 8)))
        baseline = mood * np.exp(source.normal(0, 0.1, size=(20, 8)))
        _, interval = stats.ratio_of_medians(candidate, baseline, stats.resample_rounds(20, source, 300))
        assert interval is not None
        hits += interval.low <= 1.1 <= interval.high
    assert 176 <= hits <= 200


def test_paired_metric_interval_covers_the_truth() -> None:
    """Over 150 synthetic pairs of classifiers, the interval of the accuracy difference holds the true one."""
    source = generator(4)
    hits = 0
    for _ in range(150):
        base = source.random(300) < 0.9
        candidate = np.where(source.random(300) < 0.05, ~base, base)
        truth = 0.05 * (0.1 - 0.9)
        weights = stats.resample_weights(300, source, 300)
        drawn = [
            stats.resampled_metrics(
                np.c_[right, np.ones(300)].astype(float), lambda t: {"a": t[0] / t[1]}, weights
            )["a"]
            for right in (candidate, base)
        ]
        interval = stats.interval(drawn[0] - drawn[1])
        assert interval is not None
        hits += interval.low <= truth <= interval.high
    assert hits >= 132


def test_resample_weights_draw_as_many_rows_as_there_are() -> None:
    """Each resample's counts sum to the number of rows, and vary."""
    weights = stats.resample_weights(50, generator(), 20)
    assert weights.shape == (20, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert weights.max() > 1


def test_resampled_metrics_sum_statistics_by_weight() -> None:
    """A resample that takes row 1 twice and row 0 never scores row 1 alone."""
    statistics = np.array([[0.0, 1.0], [1.0, 1.0]])
    weights = np.array([[1.0, 1.0], [0.0, 2.0]])
    drawn = stats.resampled_metrics(statistics, lambda totals: {"accuracy": totals[0] / totals[1]}, weights)
    assert drawn["accuracy"].tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (98, 100, 0.9300, 0.9945)],
)
def test_wilson_interval_of_published_cases(successes: int, count: int, low: float, high: float) -> None:
    """Wilson's interval matches tabulated values, also at 0 and 1."""
    interval = stats.wilson(successes, count)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_stability_looks_at_the_last_windows() -> None:
    """A slow start does not count once three windows lie within 10 %."""
    assert stats.is_stable([5.0, 1.0, 1.05, 1.09])
    assert not stats.is_stable([1.0, 1.05, 1.2])
    assert not stats.is_stable([1.0, 1.0])


def test_drift_compares_the_halves() -> None:
    """Ten rounds at 1 ms and ten at 1.2 ms drift by 20 %."""
    samples = np.repeat([1.0, 1.2], 10)[:, None] * np.ones((20, 4))
    assert stats.drift(samples) == pytest.approx(0.2)


def test_drift_by_chance_is_students_p_value() -> None:
    """By hand: logarithms 0, 1 and 3, 4 give t = 3 / sqrt(1/2), whose p with 2 degrees of freedom is 0.0513.

    With 2 degrees of freedom p = 1 - t / sqrt(t * t + 2). Halves without spread are apart for sure.
    """
    t = 3 / math.sqrt(0.5)
    samples = np.exp([0.0, 1.0, 3.0, 4.0])[:, None] * np.ones((4, 3))
    assert stats.drift_by_chance(samples) == pytest.approx(1 - t / math.sqrt(t * t + 2))
    # The middle round of an odd number is in neither half.
    samples = np.exp([0.0, 1.0, 99.0, 3.0, 4.0])[:, None]
    assert stats.drift_by_chance(samples) == pytest.approx(1 - t / math.sqrt(t * t + 2))
    assert stats.drift_by_chance(np.array([[1.0], [1.0], [2.0], [2.0]])) == 0


def test_pareto_keeps_what_no_other_beats() -> None:
    """A slower point of no higher gain is off the front; of equal points the first stays."""
    points = [(4.0, 0.92), (2.0, 0.90), (3.0, 0.89), (1.0, 0.80), (2.0, 0.90)]
    assert stats.pareto(points) == [3, 1, 0]
