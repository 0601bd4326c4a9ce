"""Floats to eight-bit integers: scales, zero points, rounding. Pure functions on arrays.

Weights are symmetric per output channel: ``s_j = max|W_j| / 127`` (Jacob et al. 2018, section 3;
per channel as in Krishnamoorthi 2018, section 3.1.2). Activations are one scale a tensor:
asymmetric unsigned for CPUs (VNNI multiplies U8 by S8), symmetric signed for TensorRT.
"""

from __future__ import annotations

import numpy as np

_TINY = np.float32(np.finfo(np.float32).tiny)


def symmetric_scales(weight: np.ndarray, axis: int, largest: int = 127) -> np.ndarray:
    """One scale for every index along ``axis``, float32; an all-zero channel gets scale 1.

    Args:
        weight: float array.
        axis: the one that keeps its scales.
        largest: the integer that the largest absolute value becomes (127; 64 with a reduced range).
    """
    others = tuple(i for i in range(weight.ndim) if i != axis)
    peak = np.abs(weight).max(axis=others).astype(np.float32)
    scales = peak / np.float32(largest)
    return np.where(scales < _TINY, np.float32(1), scales).astype(np.float32)


def quantize_symmetric(weight: np.ndarray, scales: np.ndarray, axis: int, largest: int = 127) -> np.ndarray:
    """``round(weight / scale)`` as int8, half to even, within ``[-largest, largest]``."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    scaled = weight / scales.reshape(shape)
    return np.clip(np.rint(scaled), -largest, largest).astype(np.int8)


def asymmetric_u8(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero point of unsigned 8-bit for ``[low, high]``, widened to hold zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255.0)
    if not np.isfinite(scale) or scale < _TINY:
        return np.float32(1), np.uint8(0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def symmetric_s8(low: float, high: float) -> tuple[np.float32, np.int8]:
    """Scale and zero point (always 0) of signed 8-bit for the larger of ``|low|`` and ``|high|``."""
    scale = np.float32(max(abs(low), abs(high)) / 127.0)
    if not np.isfinite(scale) or scale < _TINY:
        return np.float32(1), np.int8(0)
    return scale, np.int8(0)
