"""Calibration as sums over rows: expected calibration error, Brier score, negative log likelihood.

The calibration error takes bins of equal mass over confidence: ``sum_b |sum_{i in b} (confidence_i -
right_i)| / n`` (Nguyen and O'Connor 2015 for the bins; Guo et al. 2017, eq. 3, for the sum). In
resamples the bins stay where the full sample put them, so that every resample is one weighted sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.record.findings import Bin, Reliability
from compress.model import temperature
from compress.tasks import Link
from deploy.checking import divergence

BINS = 15


@dataclass(frozen=True)
class Sums:
    """What the three figures are sums of, by row.

    Attributes:
        gaps: confidence less right, by bin, float64 [rows, bins].
        brier: squared error, float64 [rows].
        nll: in nats, float64 [rows].
        counts: decisions, float64 [rows].
        bins: for the plot.
    """

    gaps: np.ndarray
    brier: np.ndarray
    nll: np.ndarray
    counts: np.ndarray
    bins: tuple[Bin, ...]

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """``ece``, ``brier`` and ``nll`` under row weights [..., rows]."""
        wide = np.asarray(weights, dtype=np.float64)
        total = wide @ self.counts
        return {
            "ece": np.abs(wide @ self.gaps).sum(axis=-1) / total,
            "brier": wide @ self.brier / total,
            "nll": wide @ self.nll / total,
        }

    def reliability(self) -> Reliability:
        """The figures of all rows."""
        found = self.figures(np.ones(len(self.counts)))
        return Reliability(**{name: float(value) for name, value in found.items()}, bins=self.bins)


def _confidences(
    outputs: np.ndarray, truth: np.ndarray, link: Link
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and whether it was right, [decisions]; squared error, [decisions of the outputs]."""
    if link == "softmax":
        p = np.exp(divergence.log_softmax(outputs))
        true = np.eye(p.shape[1])[truth.astype(np.int64)]
        return p.max(axis=1), (p.argmax(axis=1) == truth).astype(np.float64), ((p - true) ** 2).sum(axis=1)
    p = 1 / (1 + np.exp(-outputs))
    right = ((p >= 0.5) == (truth > 0.5)).astype(np.float64)
    return np.maximum(p, 1 - p).reshape(-1), right.reshape(-1), ((p - truth) ** 2).sum(axis=1)


def sums(
    outputs: np.ndarray,
    truth: np.ndarray,
    owner: np.ndarray,
    rows: int,
    link: Link,
    scale: float = 1.0,
    bins: int = BINS,
) -> Sums:
    """The sums of one model.

    Args:
        outputs: before the link, float64 [decisions, classes].
        truth: class ids, or 0/1 for each label.
        owner: row of each decision, int64 [decisions].
        rows: how many there are.
        link: ``softmax`` or ``sigmoid`` (each label is then a decision).
        scale: temperature.
        bins: of equal mass; fewer where there are fewer decisions.
    """
    confidence, right, squared = _confidences(outputs / scale, truth, link)
    labels = 1 if link == "softmax" else outputs.shape[1]
    owners = np.repeat(owner, labels)
    order = np.argsort(confidence, kind="stable")
    gaps = np.zeros((rows, min(bins, len(order))))
    made = []
    for place, members in enumerate(np.array_split(order, gaps.shape[1])):
        np.add.at(gaps[:, place], owners[members], confidence[members] - right[members])
        made.append(
            Bin(
                confidence=float(confidence[members].mean()),
                right=float(right[members].mean()),
                count=len(members),
            )
        )
    each = temperature.nll(outputs, truth, link, scale) * labels
    return Sums(
        gaps=gaps,
        brier=np.bincount(owner, weights=squared, minlength=rows),
        nll=np.bincount(owner, weights=each, minlength=rows),
        counts=np.bincount(owners, minlength=rows).astype(np.float64),
        bins=tuple(made),
    )
