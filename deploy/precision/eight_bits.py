"""Floats to eight bits: integers and FP8, their scales, zero points and rounding. Pure, on arrays.

Weights are symmetric per output channel: ``s_j = max|W_j| / 127`` (Jacob et al. 2018, section 3;
per channel as in Krishnamoorthi 2018, section 3.1.2). Activations are one scale a tensor:
asymmetric unsigned for CPUs (VNNI multiplies U8 by S8), symmetric signed for TensorRT. FP8 is E4M3
without infinities (Micikevicius et al. 2022, "FP8 formats for deep learning"): ``s = max|x| / 448``,
values beyond it saturate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np

from deploy.precision.rounding import compensated

E4M3_LARGEST = 448.0
FP16_LARGEST = 65504.0
FP16_SMALLEST_NORMAL = 2.0**-14
# FP16 scales of Q/DQ pairs and FP8 exist from this opset on.
HALF_SCALES = 19

_TINY = np.float32(np.finfo(np.float32).tiny)


def symmetric_scales(weight: np.ndarray, axis: int, largest: float = 127) -> np.ndarray:
    """One scale for every index along ``axis``, float32; an all-zero channel gets scale 1.

    Args:
        weight: float array.
        axis: the one that keeps its scales.
        largest: what the largest absolute value becomes (127; 64 with a reduced range; 448 in FP8).
    """
    reduced_axes = tuple(i for i in range(weight.ndim) if i != axis)
    peak = np.abs(weight).max(axis=reduced_axes).astype(np.float32)
    scales = peak / np.float32(largest)
    return np.where(scales < _TINY, np.float32(1), scales).astype(np.float32)


def scaled_by(weight: np.ndarray, scales: np.ndarray, axis: int) -> np.ndarray:
    """``weight / scale``, each index along ``axis`` by its own."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight / scales.reshape(shape)


def nearest_integer(scaled: np.ndarray, largest: int = 127) -> np.ndarray:
    """The nearest int8, half to even, within ``[-largest, largest]``."""
    return np.clip(np.rint(scaled), -largest, largest).astype(np.int8)


def nearest_e4m3(scaled: np.ndarray) -> np.ndarray:
    """The nearest FP8 E4M3, half to even, within ``[-448, 448]``."""
    return np.clip(scaled, -E4M3_LARGEST, E4M3_LARGEST).astype(ml_dtypes.float8_e4m3fn)


def asymmetric_u8(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of unsigned 8-bit for ``[low, high]``, widened to hold zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255.0)
    if not np.isfinite(scale) or scale < _TINY:
        return np.float32(1), np.uint8(0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def symmetric_scale(low: float, high: float, largest: float = 127) -> np.float32:
    """The scale that takes the larger of ``|low|`` and ``|high|`` to ``largest``; zero point 0."""
    scale = np.float32(max(abs(low), abs(high)) / largest)
    return np.float32(1) if not np.isfinite(scale) or scale < _TINY else scale


def as_half(scales: np.ndarray) -> np.ndarray:
    """The nearest scales, none smaller, that FP16 holds exactly and as normal numbers, float32.

    Weights are then quantized by the very scales that a typed FP16 graph multiplies with. What is
    beyond FP16's largest number stays as it is.
    """
    raised = np.maximum(scales, np.float32(FP16_SMALLEST_NORMAL))
    with np.errstate(over="ignore"):
        near = raised.astype(np.float16)
        above = np.nextafter(near, np.float16(np.inf))
    halves = np.where(near.astype(np.float32) < raised, above, near).astype(np.float32)
    return np.where(np.isfinite(halves), halves, scales).astype(np.float32)


@dataclass(frozen=True)
class EightBits:
    """An eight-bit format: how ranges become scales, and weights become values.

    Attributes:
        kind: of activations: ``u8`` asymmetric, ``s8`` symmetric, ``e4m3`` FP8. Weights are symmetric
            signed integers, or FP8.
        largest: integer for the largest weight of a channel; 64 where the CPU adds with saturation.
        half_scales: whether scales must be exact in FP16.
    """

    kind: Literal["u8", "s8", "e4m3"]
    largest: int = 127
    half_scales: bool = False

    @property
    def symmetric(self) -> bool:
        """Whether activations have zero point 0."""
        return self.kind != "u8"

    def activation(self, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
        """Scale (float32) and zero point of a tensor with that range, both without axes."""
        if self.kind == "u8":
            scale, zero = asymmetric_u8(low, high)
            return np.asarray(scale), np.asarray(zero)
        fp8 = self.kind == "e4m3"
        chosen = np.asarray(symmetric_scale(low, high, E4M3_LARGEST if fp8 else 127))
        return self._held(chosen), np.zeros((), ml_dtypes.float8_e4m3fn if fp8 else np.int8)

    def weight(
        self, array: np.ndarray, moments: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values [in, out], scales [out] and zero points [out] of a weight [in, out].

        Args:
            array: the weight.
            moments: second moments of its inputs [in, in], by which roundings make up for each other
                (see ``rounding``); None rounds each value to the nearest.
        """
        scales = self._held(symmetric_scales(array, 1, E4M3_LARGEST if self.kind == "e4m3" else self.largest))
        scaled = scaled_by(array, scales, 1)
        values = self._nearest(scaled) if moments is None else compensated(scaled, moments, self._nearest)
        return np.ascontiguousarray(values), scales, np.zeros(scales.shape, values.dtype)

    def filters(
        self, array: np.ndarray, least: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values [out, in, *kernel], scales [out] and zero points [out] of a convolution's weight.

        Args:
            array: the weight.
            least: of the scales, [out]: a bias of 32 bits in units of a smaller one would not fit.
        """
        scales = symmetric_scales(array, 0, E4M3_LARGEST if self.kind == "e4m3" else self.largest)
        if least is not None:
            scales = np.maximum(scales, least.astype(np.float32))
        scales = self._held(scales)
        values = self._nearest(scaled_by(array, scales, 0))
        return np.ascontiguousarray(values), scales, np.zeros(scales.shape, values.dtype)

    def _nearest(self, scaled: np.ndarray) -> np.ndarray:
        return nearest_e4m3(scaled) if self.kind == "e4m3" else nearest_integer(scaled, self.largest)

    def _held(self, scales: np.ndarray) -> np.ndarray:
        return as_half(scales) if self.half_scales else scales
