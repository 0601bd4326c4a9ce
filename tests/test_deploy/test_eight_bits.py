"""Integers: scales, rounding and zero points against hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.precision import eight_bits


def test_weights_are_symmetric_with_one_scale_a_channel() -> None:
    """Each output channel's largest weight becomes 127, and halves round to even."""
    weight = np.array([[1.27, -0.2], [-0.635, 0.1], [0.0, 0.05]], dtype=np.float32)
    scales = eight_bits.symmetric_scales(weight, axis=1)
    assert scales == pytest.approx([0.01, 0.2 / 127])
    whole = eight_bits.quantize_symmetric(weight, scales, axis=1)
    assert whole.dtype == np.int8
    assert whole[:, 0].tolist() == [127, -64, 0]  # -63.5 rounds to even
    assert whole[:, 1].tolist() == [-127, 64, 32]


def test_an_empty_channel_has_a_scale_that_divides() -> None:
    """A channel of zeros stays zeros instead of dividing by zero."""
    weight = np.zeros((2, 3), dtype=np.float32)
    scales = eight_bits.symmetric_scales(weight, axis=1)
    assert scales.tolist() == [1.0, 1.0, 1.0]
    assert not eight_bits.quantize_symmetric(weight, scales, axis=1).any()


def test_a_reduced_range_halves_the_integers() -> None:
    """Seven-bit weights stay within 64, so that two products of U8 and S8 fit 16 bits with sign."""
    weight = np.array([[2.0, -4.0]], dtype=np.float32)
    scales = eight_bits.symmetric_scales(weight, axis=1, largest=64)
    whole = eight_bits.quantize_symmetric(weight, scales, axis=1, largest=64)
    assert whole.tolist() == [[64, -64]]
    assert 2 * 255 * 64 <= 2**15 - 1


def test_unsigned_activations_hold_zero_exactly() -> None:
    """The range is widened to zero, and zero is an integer."""
    scale, zero = eight_bits.asymmetric_u8(-1.0, 4.1)
    assert scale == pytest.approx(5.1 / 255)
    assert zero == 50
    scale, zero = eight_bits.asymmetric_u8(2.0, 5.1)
    assert scale == pytest.approx(5.1 / 255)
    assert zero == 0
    assert eight_bits.asymmetric_u8(0.0, 0.0) == (1.0, 0)


def test_signed_activations_are_symmetric() -> None:
    """The larger side sets the scale, the zero point is 0."""
    assert eight_bits.symmetric_scale(-1.0, 2.54) == np.float32(2.54 / 127)
    assert eight_bits.symmetric_scale(0.0, 0.0) == 1.0
