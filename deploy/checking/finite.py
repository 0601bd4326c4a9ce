"""Whether the numbers of a tensor are numbers: NaN and infinities, found in the bits.

All floating formats of IEEE 754 have the same build: among equal signs larger bits mean a larger number, the
infinity stands above all numbers, and NaN above the infinity. So one comparison of whole numbers does for
each, also for those that numpy has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

# Pieces that stay in a processor's cache.
_PIECE = 2**18


@dataclass(frozen=True)
class Format:
    """Where a floating format keeps what is no number.

    Attributes:
        bits: dtype of unsigned integers of the same size.
        infinity: the bits of the positive infinity, or of the largest number where there is none.
        infinite: whether the format has an infinity.
    """

    bits: str
    infinity: int
    infinite: bool = True


FORMATS = {
    "FLOAT": Format("<u4", 0x7F80_0000),
    "DOUBLE": Format("<u8", 0x7FF0_0000_0000_0000),
    "FLOAT16": Format("<u2", 0x7C00),
    "BFLOAT16": Format("<u2", 0x7F80),
    "FLOAT8E5M2": Format("u1", 0x7C),
    "FLOAT8E4M3FN": Format("u1", 0x7E, infinite=False),
}
"""By the name that ONNX gives a type."""


def lacking(data: bytes | np.ndarray, kind: str) -> Literal["NaN", "infinity", "-infinity"] | None:
    """What is among the numbers of a tensor that is none; None where all are.

    Args:
        data: raw bytes of the tensor.
        kind: of its numbers, a key of ``FORMATS``.
    """
    form = FORMATS[kind]
    array = np.asarray(data if isinstance(data, np.ndarray) else memoryview(data))
    bits = np.ascontiguousarray(array).reshape(-1).view(form.bits)
    sign = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    infinity: Literal["NaN", "infinity", "-infinity"] | None = None
    for at in range(0, bits.size, _PIECE):
        piece = bits[at : at + _PIECE]
        magnitude = piece & ~sign
        largest = int(magnitude.max())
        if largest > form.infinity:
            return "NaN"
        if form.infinite and largest == form.infinity:
            positive = bool((piece == form.infinity).any())
            infinity = "infinity" if positive or infinity == "infinity" else "-infinity"
    return infinity
