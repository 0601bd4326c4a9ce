"""Ranges of activations from histograms: min-max, percentile, entropy. Pure functions on arrays.

A histogram has a fixed number of bins over the range that a first pass found, so that memory does
not grow with the rows. Its resolution bounds the error of a percentile: one bin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Method = Literal["minmax", "percentile", "entropy"]
BINS = 2048


@dataclass
class Extremes:
    """The smallest and largest value seen so far."""

    low: float = np.inf
    high: float = -np.inf
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Take more values."""
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))
            self.count += values.size


@dataclass
class Histogram:
    """Counts over equal bins of a fixed range; values outside are counted in the outermost bins.

    Attributes:
        low: left edge of the first bin.
        high: right edge of the last bin.
        bins: how many.
        counts: int64 [bins].
    """

    low: float
    high: float
    bins: int = BINS
    counts: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        """Start empty; a range of no width is widened."""
        if not self.high > self.low:
            self.high = self.low + max(abs(self.low), 1.0) * 1e-6
        self.counts = np.zeros(self.bins, dtype=np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count more values."""
        place = (values.ravel().astype(np.float64) - self.low) * (self.bins / (self.high - self.low))
        slots = np.clip(place.astype(np.int64), 0, self.bins - 1)
        self.counts += np.bincount(slots, minlength=self.bins)

    @property
    def edges(self) -> np.ndarray:
        """Edges of the bins, float64 [bins + 1]."""
        return np.linspace(self.low, self.high, self.bins + 1)

    @property
    def centers(self) -> np.ndarray:
        """Middles of the bins, float64 [bins]."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2


def quantile(histogram: Histogram, share: float) -> float:
    """The smallest value that at least a share of the counts does not exceed, linear within its bin."""
    total = histogram.counts.sum()
    if total == 0:
        return histogram.low
    cumulative = np.cumsum(histogram.counts) / total
    place = min(int(np.searchsorted(cumulative, share, side="left")), histogram.bins - 1)
    below = float(cumulative[place - 1]) if place else 0.0
    inside = float(cumulative[place]) - below
    part = min(max((share - below) / inside, 0.0), 1.0) if inside > 0 else 1.0
    edges = histogram.edges
    return float(edges[place] + part * (edges[place + 1] - edges[place]))


def percentile(histogram: Histogram, percent: float, symmetric: bool) -> tuple[float, float]:
    """The range that holds so many percent of the values.

    Args:
        histogram: of the values.
        percent: such as 99.999; what is cut is split evenly between the two sides.
        symmetric: cut by absolute value instead.
    """
    if symmetric:
        limit = quantile(magnitudes(histogram), percent / 100.0)
        return -limit, limit
    cut = (1.0 - percent / 100.0) / 2.0
    return quantile(histogram, cut), quantile(histogram, 1.0 - cut)


def magnitudes(histogram: Histogram) -> Histogram:
    """The histogram of absolute values, with as many bins from 0 to the largest one."""
    peak = max(abs(histogram.low), abs(histogram.high))
    folded = Histogram(0.0, peak, histogram.bins)
    slots = np.abs(histogram.centers) * (histogram.bins / peak)
    np.add.at(folded.counts, np.clip(slots.astype(np.int64), 0, folded.bins - 1), histogram.counts)
    return folded


def clipping_loss(counts: np.ndarray, start: int, stop: int, levels: int) -> float:
    """KL between a histogram clipped to ``[start, stop)`` and the same after quantization, in nats.

    As in TensorRT's calibrator (Migacz, "8-bit inference with TensorRT", 2017): outliers join the
    outermost bins of the reference; the candidate spreads the counts of each level evenly over the
    bins of it that hold anything.
    """
    inner = counts[start:stop].astype(np.float64)
    reference = inner.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[stop:].sum()
    width = stop - start
    level = (np.arange(width) * levels) // width
    filled = reference > 0
    sums = np.bincount(level, weights=inner, minlength=levels)
    sizes = np.bincount(level, weights=filled.astype(np.float64), minlength=levels)
    shares = np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)
    candidate = np.where(filled, shares[level], 0.0)
    if reference.sum() == 0 or candidate.sum() == 0:
        return np.inf
    p, q = reference / reference.sum(), candidate / candidate.sum()
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / np.maximum(q[positive], 1e-12))).sum())


def entropy(histogram: Histogram, symmetric: bool, step: int = 8) -> tuple[float, float]:
    """The clipped range whose quantized histogram is closest to the values' own.

    Every range ``[-t, t]``, cut to what was seen, is tried, from 128 bins of magnitude up. Unsigned
    asymmetric integers have 255 steps for the whole range; signed symmetric ones 127 for each side.

    Args:
        histogram: of the values.
        symmetric: whether the range must be symmetric.
        step: bins between two tries.
    """
    if symmetric:
        folded = magnitudes(histogram)
        stops = [*range(128, folded.bins, step), folded.bins]
        losses = [clipping_loss(folded.counts, 0, stop, 128) for stop in stops]
        limit = float(folded.edges[stops[int(np.argmin(losses))]])
        return -limit, limit
    edges = histogram.edges
    peak = max(abs(histogram.low), abs(histogram.high))
    best, bounds = np.inf, (histogram.low, histogram.high)
    tried: set[tuple[int, int]] = set()
    for share in np.linspace(128 / histogram.bins, 1.0, (histogram.bins - 128) // step + 1):
        start = int(np.searchsorted(edges, -share * peak, side="right")) - 1
        stop = int(np.searchsorted(edges, share * peak, side="left"))
        start, stop = max(start, 0), min(stop, histogram.bins)
        if stop - start < 2 or (start, stop) in tried:
            continue
        tried.add((start, stop))
        loss = clipping_loss(histogram.counts, start, stop, min(255, stop - start))
        if loss < best:
            best, bounds = loss, (float(edges[start]), float(edges[stop]))
    return bounds


def choose(histogram: Histogram, method: Method, percent: float, symmetric: bool) -> tuple[float, float]:
    """The range by one of the methods."""
    if method == "percentile":
        return percentile(histogram, percent, symmetric)
    if method == "entropy":
        return entropy(histogram, symmetric)
    return histogram.low, histogram.high
