"""Figures in words: shares in percent, differences in points, intervals, p-values."""

from __future__ import annotations

from typing import Literal

from bench.record.interval import Interval

LEVEL = 0.05
"""Below it a p-value is called more than chance."""


def share(value: float | None, places: int = 1) -> str:
    """A share in percent."""
    return "-" if value is None else f"{100 * value:.{places}f} %"


def figure(value: float | None, unit: str) -> str:
    """A metric: a share in percent, anything else with four digits."""
    if value is None:
        return "-"
    return share(value) if unit == "share" else f"{value:.4g}"


def change(value: float | None, unit: str = "share") -> str:
    """A difference: points for a share."""
    if value is None:
        return "-"
    return f"{100 * value + 0.0:+.1f} pt" if unit == "share" else f"{value:+.4g}"


def between(interval: Interval | None, unit: str = "share") -> str:
    """An interval of a difference, or an empty text."""
    if interval is None:
        return ""
    if unit == "share":
        return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
    return f"{interval.low:+.3g} to {interval.high:+.3g}"


def chance(p_value: float) -> str:
    """A p-value."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def worse(difference: float, better: Literal["lower", "higher"]) -> bool:
    """Whether a difference, candidate less original, is a loss."""
    return difference < 0 if better == "higher" else difference > 0
