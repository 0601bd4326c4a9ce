"""Figures in words: with their unit as a person reads it, and under a name without its underscores."""

from __future__ import annotations

import math


def digits(value: float, count: int = 3) -> str:
    """A figure with ``count`` significant digits: 8.00, 12.3, 0.0456, 1234."""
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e9:
        return f"{value:.{count}g}"
    return f"{value:.{max(0, count - 1 - math.floor(math.log10(abs(value))))}f}"


def _size(value: float) -> str:
    """Bytes as MB (millions), or kB where that is small."""
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def memory(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / 2**20:.0f} MiB" if value >= 10 * 2**20 else f"{value / 2**20:.1f} MiB"


def _count(value: float) -> str:
    """A large count with k, M or G."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{digits(value / factor)} {letter}"
    return f"{value:.0f}"


def figure(value: float, unit: str) -> str:
    """A figure with its unit: a share in percent, bytes in MB."""
    if unit == "share":
        return f"{100 * value:.2f} %"
    if unit == "bytes":
        return _size(value)
    if unit == "count":
        return _count(value)
    if unit in {"correlation", "squared"}:
        return f"{value:.4f}"
    return f"{digits(value)} {unit.replace('per_', '/')}"


def interval(low: float, high: float, unit: str) -> str:
    """From one end to the other, a share in percent."""
    factor = 100 if unit == "share" else 1
    return f"{digits(factor * low)} to {digits(factor * high)}"


def title(metric: str, unit: str) -> str:
    """The name of a metric in words, without the unit that it ends in: ``latency p50``."""
    bare = metric if unit == "share" else metric.removesuffix(f"_{unit}")
    return bare.replace("_", " ")
