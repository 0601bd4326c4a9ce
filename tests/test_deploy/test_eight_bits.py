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
    integers = eight_bits.nearest_integer(eight_bits.scaled_by(weight, scales, axis=1))
    assert integers.dtype == np.int8
    assert integers[:, 0].tolist() == [127, -64, 0]  # -63.5 rounds to even
    assert integers[:, 1].tolist() == [-127, 64, 32]


def test_an_empty_channel_has_a_scale_that_divides() -> None:
    """A channel of zeros stays zeros instead of dividing by zero."""
    weight = np.zeros((2, 3), dtype=np.float32)
    scales = eight_bits.symmetric_scales(weight, axis=1)
    assert scales.tolist() == [1.0, 1.0, 1.0]
    assert not eight_bits.nearest_integer(eight_bits.scaled_by(weight, scales, axis=1)).any()


def test_a_reduced_range_halves_the_integers() -> None:
    """Seven-bit weights stay within 64, so that two products of U8 and S8 fit 16 bits with sign."""
    weight = np.array([[2.0, -4.0]], dtype=np.float32)
    scales = eight_bits.symmetric_scales(weight, axis=1, largest=64)
    integers = eight_bits.nearest_integer(eight_bits.scaled_by(weight, scales, axis=1), largest=64)
    assert integers.tolist() == [[64, -64]]
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


def test_fp8_rounds_to_three_bits_and_saturates() -> None:
    """E4M3: ties to even, nothing beyond 448, down to 2**-9, by hand."""
    values = np.array([[448.0], [500.0], [1.0625], [1.1875], [-1.3], [2.0**-9], [2.0**-10]], np.float32)
    nearest = eight_bits.nearest_e4m3(values).astype(np.float32)
    assert nearest[:, 0].tolist() == [448.0, 448.0, 1.0, 1.25, -1.25, 2.0**-9, 0.0]
    plain = eight_bits.EightBits("e4m3")
    codes, scales, zeros = plain.weight(np.array([[4.48, -0.5], [2.24, 0.25]], np.float32))
    assert scales == pytest.approx([0.01, 0.5 / 448])
    assert codes.astype(np.float32).tolist() == [[448.0, -448.0], [224.0, 224.0]]
    assert (codes.dtype.name, zeros.dtype.name, zeros.astype(float).tolist()) == (
        "float8_e4m3fn",
        "float8_e4m3fn",
        [0.0, 0.0],
    )
    scale, zero = plain.activation(-3.0, 8.96)
    assert float(scale) == pytest.approx(0.02)
    assert (float(zero), zero.shape, scale.shape) == (0.0, (), ())


def test_scales_for_typed_graphs_are_halves() -> None:
    """None smaller than it was, none further off than one step, normal numbers only; huge ones stay."""
    scales = np.array([0.1, 1.0, 2.0**-20, 3e-5, 65504.0, 1e6], np.float32)
    halves = eight_bits.as_half(scales)
    assert (halves >= scales).all()
    assert halves[:4].tolist() == [np.float32(np.float16(0.1)) + 2.0**-14, 1.0, 2.0**-14, 2.0**-14]
    assert halves[4:].tolist() == [65504.0, 1e6]
    assert (halves[:5].astype(np.float16).astype(np.float32) == halves[:5]).all()
    exact = eight_bits.EightBits("s8", half_scales=True)
    weight = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    integers, steps, _ = exact.weight(weight)
    assert np.abs(integers * steps - weight).max() <= steps.max() / 2 + 1e-6
    assert (steps.astype(np.float16) == steps).all()
