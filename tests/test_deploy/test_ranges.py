"""Ranges: streamed histograms against numpy on all values, entropy against a search written out."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.precision import ranges
from deploy.precision.ranges import Extremes, Histogram


def _streamed(values: np.ndarray, low: float, high: float, bins: int = ranges.BINS) -> Histogram:
    histogram = Histogram(low, high, bins)
    for part in np.array_split(values, 7):
        histogram.add(part)
    return histogram


def test_extremes_of_parts_are_extremes_of_the_whole() -> None:
    """Batches are seen one at a time and none is kept."""
    values = np.random.default_rng(0).normal(size=1000)
    extremes = Extremes()
    for part in np.array_split(values, 9):
        extremes.add(part)
    assert (extremes.low, extremes.high, extremes.count) == (values.min(), values.max(), 1000)


def test_histogram_counts_equal_numpy() -> None:
    """Streamed counts are numpy's counts of all values at once."""
    values = np.random.default_rng(1).normal(size=5000)
    histogram = _streamed(values, float(values.min()), float(values.max()), 64)
    expected, _ = np.histogram(values, bins=64, range=(values.min(), values.max()))
    assert np.abs(histogram.counts - expected).sum() <= 2  # a value on an edge may fall either way
    assert histogram.counts.sum() == 5000


@pytest.mark.parametrize("percent", [90.0, 99.0, 99.9])
def test_percentile_is_numpys_within_a_bin(percent: float) -> None:
    """The asymmetric range cuts half of the rest on each side, within a bin of the exact value."""
    values = np.random.default_rng(2).gamma(2.0, size=20000) - 1.0
    histogram = _streamed(values, float(values.min()), float(values.max()))
    width = (histogram.high - histogram.low) / histogram.bins
    low, high = ranges.percentile(histogram, percent, symmetric=False)
    cut = (100 - percent) / 2
    assert low == pytest.approx(np.percentile(values, cut, method="inverted_cdf"), abs=width)
    assert high == pytest.approx(np.percentile(values, 100 - cut, method="inverted_cdf"), abs=width)


def test_symmetric_percentile_is_of_magnitudes() -> None:
    """The symmetric range is the percentile of absolute values, within two bins."""
    values = np.random.default_rng(3).normal(size=20000)
    values[0] = 30.0
    histogram = _streamed(values, float(values.min()), float(values.max()))
    width = 30.0 / histogram.bins
    low, high = ranges.percentile(histogram, 99.0, symmetric=True)
    assert -low == high == pytest.approx(np.percentile(np.abs(values), 99), abs=2 * width)


def test_hundred_percent_is_minmax() -> None:
    """Nothing is cut at 100 percent."""
    values = np.random.default_rng(4).normal(size=500)
    histogram = _streamed(values, float(values.min()), float(values.max()))
    assert ranges.percentile(histogram, 100.0, symmetric=False) == pytest.approx((values.min(), values.max()))
    assert ranges.choose(histogram, "minmax", 99.0, False) == (values.min(), values.max())


def _loss_written_out(counts: list[int], start: int, stop: int, levels: int) -> float:
    """The loss in plain loops, from the description in Migacz 2017."""
    reference = [float(c) for c in counts[start:stop]]
    original = list(reference)
    reference[0] += sum(counts[:start])
    reference[-1] += sum(counts[stop:])
    width = stop - start
    candidate = [0.0] * width
    for level in range(levels):
        members = [i for i in range(width) if i * levels // width == level]
        filled = [i for i in members if reference[i] > 0]
        for i in filled:
            candidate[i] = sum(original[j] for j in members) / len(filled)
    total_p, total_q = sum(reference), sum(candidate)
    loss = 0.0
    for p, q in zip(reference, candidate, strict=True):
        if p > 0:
            loss += p / total_p * np.log((p / total_p) / max(q / total_q, 1e-12))
    return loss


def test_clipping_loss_equals_the_loops() -> None:
    """The vectorized loss is the written-out one, with and without outliers on both sides."""
    counts = np.random.default_rng(5).poisson(3.0, size=60)
    counts[10:14] = 0
    for start, stop, levels in ((0, 60, 16), (5, 50, 9), (0, 20, 20), (12, 31, 7)):
        expected = _loss_written_out(counts.tolist(), start, stop, levels)
        assert ranges.clipping_loss(counts, start, stop, levels) == pytest.approx(expected)


def test_symmetric_entropy_finds_the_best_of_all_thresholds() -> None:
    """The chosen threshold has the smallest loss of every threshold that the search may take."""
    values = np.concatenate([np.random.default_rng(6).normal(size=50000), [25.0, -25.0]])
    histogram = _streamed(values, -25.0, 25.0)
    folded = ranges.magnitudes(histogram)
    low, high = ranges.entropy(histogram, symmetric=True, step=64)
    stops = [*range(128, folded.bins, 64), folded.bins]
    losses = {s: _loss_written_out(folded.counts.tolist(), 0, s, 128) for s in stops}
    assert high == -low == pytest.approx(folded.edges[min(losses, key=lambda s: losses[s])])
    assert high < 10  # two outliers do not stretch the range


def test_asymmetric_entropy_stays_within_what_was_seen() -> None:
    """A one-sided tensor keeps its zero side, and an outlier is cut off."""
    values = np.concatenate([np.abs(np.random.default_rng(7).normal(size=50000)), [40.0]])
    histogram = _streamed(values, float(values.min()), 40.0)
    low, high = ranges.entropy(histogram, symmetric=False, step=32)
    assert 0 <= low < 0.05
    assert 2 < high < 20


def test_a_constant_tensor_has_a_range() -> None:
    """All values alike neither divide by zero nor lose the value."""
    histogram = Histogram(2.0, 2.0)
    histogram.add(np.full(10, 2.0))
    low, high = ranges.percentile(histogram, 99.9, symmetric=False)
    assert low == pytest.approx(2.0, abs=1e-5)
    assert high == pytest.approx(2.0, abs=1e-5)


def test_memory_does_not_grow_with_the_rows() -> None:
    """A histogram holds its bins and nothing else, whatever it counted."""
    histogram = Histogram(-1.0, 1.0)
    before = histogram.counts.nbytes
    for _ in range(50):
        histogram.add(np.random.default_rng(8).uniform(-1, 1, 10000))
    assert histogram.counts.nbytes == before == ranges.BINS * 8
    assert set(vars(histogram)) == {"low", "high", "bins", "counts"}
