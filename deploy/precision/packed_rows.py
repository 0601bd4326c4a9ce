"""Rows of a table in blocks of 32 with one FP16 scale each: ONNX Runtime's ``GatherPacked``.

A row is a run of blocks, padded with zeros to a whole number of them (``Slice`` cuts the answer again). The
layouts are GGML's, which ONNX Runtime names by GGML's numbers: ``packed8`` is Q8_0 (scale, 32 signed bytes;
34 bytes a block), ``packed4`` is Q4_0 (scale, 16 bytes of two values, the low halves the first 16 values;
18 bytes a block). Both are symmetric: ``value = scale * integer``, of -127..127, or of -8..7.

ONNX Runtime has two operators for it. Measured on a 2-core Intel Xeon with AMX by ONNX Runtime 1.32.0, one
thread, forms interleaved, median microseconds of one lookup in a table of 384 columns:

| form | bytes a row | 30,522 rows, 1x25 | 1x128 | 250,037 rows, 1x25 | 1x128 |
|---|---|---|---|---|---|
| ``Gather``, FP32 | 1536 | 12 | 36 | 13 | 43 |
| INT8, one scale a row (``embeddings``) | 388 | 13 | 41 | 14 | 48 |
| ``GatherBlockQuantized``, 8 bits | 432 | 21 | 81 | 24 | 95 |
| ``GatherBlockQuantized``, 4 bits | 240 | 24 | 101 | 28 | 115 |
| ``GatherPacked`` Q8_0 | 408 | 17 | 57 | 20 | 74 |
| ``GatherPacked`` Q4_0 | 216 | 11 | 47 | 17 | 60 |

So it is ``GatherPacked``. Of 8 bits it is no smaller and no faster than a scale a row: it is for rows of
which a few columns are much larger than the others. An id that the table has no row for is answered by row
0, where ``Gather`` refuses it; hence only tables whose ids are an input of the graph, which tokenizers are
held to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

BLOCK: Final = 32
_LARGEST_HALF = np.float32(65504)
# Scales of four bits that are tried, as shares of the one that holds the largest value exactly: a smaller one
# cuts that value off and rounds the other 31 more finely.
_SHARES: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75)
_ROWS_AT_ONCE = 4096

Form = Literal["packed8", "packed4"]


@dataclass(frozen=True)
class Layout:
    """One layout of a block.

    Attributes:
        number: GGML's, which the operator takes as ``packed_type``.
        block_bytes: of one block, its scale included.
        pack: blocks [rows, blocks, 32] float32 -> bytes [rows, blocks, block_bytes].
        integers: bytes without the scale -> integers [rows, blocks, 32].
    """

    number: int
    block_bytes: int
    pack: Callable[[np.ndarray], np.ndarray]
    integers: Callable[[np.ndarray], np.ndarray]


def pack(table: np.ndarray, form: Form) -> np.ndarray:
    """The rows of a table as the operator reads them, uint8 [rows, bytes].

    Args:
        table: [rows, width] float32, of any width; of numbers beyond what an FP16 scale reaches (65504 times
            the largest integer) the nearest that it does is stored.
        form: which layout.
    """
    layout = LAYOUTS[form]
    packed = np.empty((len(table), row_bytes(table.shape[1], form)), np.uint8)
    for part in _parts(len(table)):
        packed[part] = layout.pack(_blocks(table[part])).reshape(-1, packed.shape[1])
    return packed


def unpack(packed: np.ndarray, form: Form, width: int) -> np.ndarray:
    """What the operator gives for every row, to the bit: float32 [rows, width]."""
    layout = LAYOUTS[form]
    blocks = packed.reshape(len(packed), -1, layout.block_bytes)
    scales = np.ascontiguousarray(blocks[..., :2]).view(np.float16).astype(np.float32)
    values = layout.integers(blocks[..., 2:]).astype(np.float32) * scales
    return values.reshape(len(packed), -1)[:, :width]


def row_bytes(width: int, form: Form) -> int:
    """Bytes of one row."""
    return padded(width) // BLOCK * LAYOUTS[form].block_bytes


def padded(width: int) -> int:
    """The width in whole blocks."""
    return -(-width // BLOCK) * BLOCK


def largest_difference(table: np.ndarray, packed: np.ndarray, form: Form) -> float:
    """How far the value that differs most is from the table's."""
    return max(
        (
            float(np.abs(unpack(packed[part], form, table.shape[1]) - table[part]).max())
            for part in _parts(len(table))
        ),
        default=0.0,
    )


def _parts(rows: int) -> Iterator[slice]:
    """Slices of some thousand rows: a table of a quarter of a million is not held three times."""
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, rows, _ROWS_AT_ONCE))


def _blocks(rows: np.ndarray) -> np.ndarray:
    """Rows in blocks [rows, blocks, 32], the last one filled with zeros."""
    wide = np.zeros((len(rows), padded(rows.shape[1])), np.float32)
    wide[:, : rows.shape[1]] = rows
    return wide.reshape(len(rows), -1, BLOCK)


def _half(scales: np.ndarray) -> np.ndarray:
    """The nearest scales that FP16 has, float16."""
    return np.clip(scales, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)


def _rounded(blocks: np.ndarray, scales: np.ndarray, low: int, high: int) -> np.ndarray:
    """The nearest integers within bounds, by the scales as FP16 has them; zeros where a scale is 0."""
    stored = scales.astype(np.float32)
    return np.clip(np.rint(blocks / np.where(stored == 0, np.float32(np.inf), stored)), low, high)


def _with_scales(scales: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Scales [rows, blocks, 1] float16 before bytes [rows, blocks, n]."""
    return np.concatenate([np.ascontiguousarray(scales).view(np.uint8), values.view(np.uint8)], axis=-1)


def _pack8(blocks: np.ndarray) -> np.ndarray:
    scales = _half(np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127))
    return _with_scales(scales, _rounded(blocks, scales, -127, 127).astype(np.int8))


def _pack4(blocks: np.ndarray) -> np.ndarray:
    """By the scale, of a few, whose squared error is least; its sign takes the largest value to -8."""
    place = np.abs(blocks).argmax(axis=-1, keepdims=True)
    peak = np.take_along_axis(blocks, place, axis=-1) / np.float32(-8)
    scales, least = _half(peak), np.full(peak.shape, np.inf, np.float32)
    for share in _SHARES:
        tried = _half(peak * np.float32(share))
        apart = _rounded(blocks, tried, -8, 7) * tried.astype(np.float32) - blocks
        error = np.square(apart).sum(axis=-1, keepdims=True)
        scales, least = np.where(error < least, tried, scales), np.minimum(error, least)
    integers = (_rounded(blocks, scales, -8, 7) + 8).astype(np.uint8)
    half = BLOCK // 2
    return _with_scales(scales, integers[..., :half] | (integers[..., half:] << 4))


def _integers8(stored: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(stored).view(np.int8)


def _integers4(stored: np.ndarray) -> np.ndarray:
    return np.concatenate([stored & 15, stored >> 4], axis=-1).astype(np.int8) - np.int8(8)


LAYOUTS: Final[dict[Form, Layout]] = {
    "packed8": Layout(8, 34, _pack8, _integers8),
    "packed4": Layout(2, 18, _pack4, _integers4),
}
