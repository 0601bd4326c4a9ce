"""Accuracy of some logits, and how far they are from a reference: pure functions on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


def compare(logits: np.ndarray, labels: np.ndarray, reference: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Metric and agreement of one artifact on labeled rows.

    Args:
        logits: [rows, labels].
        labels: [rows], integers.
        reference: logits of the FP32 original on the same rows.
        seed: of the bootstrap.

    Returns:
        ``rows accuracy accuracy_interval difference difference_interval agreement flips
        max_abs_difference mean_abs_difference cosine finite``. The difference is accuracy less the
        reference's on the same rows, its interval paired; intervals are bootstrap percentiles at 95 %.

    Raises:
        ValueError: shapes that do not belong together, or no rows.
    """
    if logits.shape != reference.shape or logits.shape[:1] != labels.shape or not len(labels):
        raise ValueError(f"logits {logits.shape}, reference {reference.shape}, labels {labels.shape}")
    finite = bool(np.isfinite(logits).all())
    found = logits.astype(np.float64)
    wanted = reference.astype(np.float64)
    right = (found.argmax(1) == labels).astype(np.float64)
    before = (wanted.argmax(1) == labels).astype(np.float64)
    same = found.argmax(1) == wanted.argmax(1)
    draws = np.random.default_rng(seed).integers(0, len(labels), (RESAMPLES, len(labels)))
    gap = np.abs(found - wanted)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (found * wanted).sum(1) / norms
    return {
        "rows": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_interval": _interval(right[draws].mean(1)),
        "difference": float((right - before).mean()),
        "difference_interval": _interval((right - before)[draws].mean(1)),
        "agreement": float(same.mean()),
        "flips": int((~same).sum()),
        "max_abs_difference": float(gap.max()) if finite else None,
        "mean_abs_difference": float(gap.mean()) if finite else None,
        "cosine": float(cosine.mean()) if np.isfinite(cosine).all() else None,
        "finite": finite,
    }


def _interval(resampled: np.ndarray) -> list[float]:
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return [float(low), float(high)]


def bucketed(lengths: np.ndarray, buckets: tuple[int, ...]) -> dict[int, np.ndarray]:
    """Row indices by the smallest bucket that holds them.

    Raises:
        ValueError: a row is longer than every bucket.
    """
    if lengths.max() > max(buckets):
        raise ValueError(f"a row has {lengths.max()} tokens and the largest bucket is {max(buckets)}")
    fitting = np.searchsorted(np.sort(np.asarray(buckets)), lengths)
    return {
        size: found for i, size in enumerate(sorted(buckets)) if len(found := np.flatnonzero(fitting == i))
    }


def batches(indices: np.ndarray, size: int) -> list[np.ndarray]:
    """Indices in batches of one size; the last is filled up with its own last index."""
    short = -len(indices) % size
    filled = np.concatenate([indices, np.repeat(indices[-1:], short)])
    return list(filled.reshape(-1, size))


def line(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Least squares through some points: ``slope intercept largest_residual``.

    Raises:
        ValueError: fewer than two different x.
    """
    if len(np.unique(x)) < 2:
        raise ValueError("a line needs two different points")
    slope, intercept = np.polyfit(x.astype(np.float64), y.astype(np.float64), 1)
    off = np.abs(slope * x + intercept - y).max()
    return {"slope": float(slope), "intercept": float(intercept), "largest_residual": float(off)}
