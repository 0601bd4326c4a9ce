"""Figures in words, the same in reports and on cards."""

from __future__ import annotations

import pytest

from compress import quantities


@pytest.mark.parametrize(
    ("value", "text"),
    [(8.0, "8.00"), (12.345, "12.3"), (0.04567, "0.0457"), (1234.5, "1234"), (0.0, "0"), (2.5e-9, "2.5e-09")],
)
def test_figures_have_three_significant_digits(value: float, text: str) -> None:
    """Figures neither lose their zeros nor show exponents in the usual range."""
    assert quantities.digits(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.9125, "share", "91.25 %"),
        (20e6, "bytes", "20.0 MB"),
        (2_500, "bytes", "2.5 kB"),
        (1.2e9, "count", "1.20 G"),
        (0.5, "correlation", "0.5000"),
        (2.5, "ms", "2.50 ms"),
        (50.0, "per_s", "50.0 /s"),
    ],
)
def test_a_figure_has_its_unit(value: float, unit: str, text: str) -> None:
    """Shares are percent and bytes megabytes, everywhere alike."""
    assert quantities.figure(value, unit) == text


def test_names_and_intervals_are_words() -> None:
    """No underscore and no unit twice."""
    assert quantities.title("latency_p50_ms", "ms") == "latency p50"
    assert quantities.title("placed_share", "share") == "placed share"
    assert quantities.interval(0.9, 0.92, "share") == "90.0 to 92.0"
    assert quantities.interval(2.0, 3.0, "ms") == "2.00 to 3.00"
