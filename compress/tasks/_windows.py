"""Windows of a long text beside a question, exactly as the fast tokenizers of transformers make them.

A pair that is longer than the limit becomes several: each has the whole question and a part of the context,
and neighbors have ``stride`` tokens in common (``truncation="only_second"``, ``return_overflowing_tokens``).
The context is the second text, or the first where a tokenizer pads on the left, as with XLNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.errors import DataError
from compress.tasks import Row
from compress.tasks import _tokenizers as tokenizers

STRIDE = 128
MOST_TOKENS = 2**27
"""Tokens of all windows of some rows together, which take about 2 GiB."""

_CHUNK = 64
_PADDING = {"input_ids": "pad_token_id", "token_type_ids": "pad_token_type_id"}


@dataclass(frozen=True)
class Window:
    """What a model sees at once.

    Attributes:
        inputs: name -> int32 [tokens], the model's.
        offsets: first character of each token in the context and the one after its last, int32 [tokens, 2];
            -1 for what is no part of the context.
        question: which tokens are the question's, bool [tokens].
        lost: tokens that the limit left out and no other window has.
    """

    inputs: dict[str, np.ndarray]
    offsets: np.ndarray
    question: np.ndarray
    lost: int = 0

    def __len__(self) -> int:
        """How many tokens it has."""
        return len(self.offsets)

    def shortened(self, tokens: int) -> Window:
        """At most so many tokens: the end of the longer of both texts goes, as transformers cuts pairs."""
        excess = len(self) - tokens
        if excess <= 0:
            return self
        texts = [np.flatnonzero(self.offsets[:, 0] >= 0), np.flatnonzero(self.question)]
        sizes = [len(text) for text in texts]
        for _ in range(min(excess, sum(sizes))):
            sizes[0 if sizes[0] >= sizes[1] else 1] -= 1
        keep = np.ones(len(self), dtype=bool)
        for text, size in zip(texts, sizes, strict=True):
            keep[text[size:]] = False
        return Window(
            {name: array[keep] for name, array in self.inputs.items()},
            self.offsets[keep],
            self.question[keep],
            lost=self.lost + int((~keep).sum()),
        )


def context_last(processor: Any) -> bool:
    """Whether the context is the second text."""
    return bool(processor.padding_side == "right")


def _tokenized(
    rows: Sequence[Row], processor: Any, max_length: int | None, stride: int
) -> list[list[Window]]:
    """The windows of each row."""
    questions, contexts = [row["question"] for row in rows], [row["context"] for row in rows]
    last = context_last(processor)
    options: dict[str, Any] = {"truncation": False}
    if max_length is not None:
        options = {
            "truncation": "only_second" if last else "only_first",
            "max_length": max_length,
            "stride": stride,
            "return_overflowing_tokens": True,
        }
    encoded = tokenizers.encoded(
        processor, *((questions, contexts) if last else (contexts, questions)), verbose=False, **options
    )
    owners = encoded.get("overflow_to_sample_mapping", range(len(rows)))
    windows: list[list[Window]] = [[] for _ in rows]
    names = tokenizers.input_names(processor)
    for i, (owner, encoding) in enumerate(zip(owners, encoded.encodings, strict=True)):
        sides = np.asarray([-1 if side is None else side for side in encoding.sequence_ids], dtype=np.int8)
        offsets = np.asarray(encoding.offsets, dtype=np.int32).reshape(-1, 2)
        offsets[sides != int(last)] = -1
        inputs = {name: np.asarray(encoded[name][i], dtype=np.int32) for name in names}
        windows[int(owner)].append(Window(inputs, offsets, sides == 1 - int(last)))
    return windows


def question_tokens(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row's question with the special tokens of a pair, int64 [rows]."""
    encoded = tokenizers.encoded(
        processor, [row["question"] for row in rows], add_special_tokens=False, verbose=False
    )
    counts: np.ndarray = tokenizers.token_counts(encoded) + processor.num_special_tokens_to_add(pair=True)
    return counts


def whole(rows: Sequence[Row], processor: Any) -> list[Window]:
    """One window a row, however long it is."""
    return [windows[0] for windows in _tokenized(rows, processor, None, 0)] if rows else []


def windows(rows: Sequence[Row], processor: Any, max_length: int | None) -> list[list[Window]]:
    """The windows of each row.

    Neighbors have ``STRIDE`` tokens in common, at most half of the limit, as the pipeline of transformers
    does it, and at most three quarters of what the question leaves. Where that is less than a quarter of the
    limit, a row has one window, cut from its longer text.

    Args:
        rows: with ``question`` and ``context``.
        processor: a fast tokenizer.
        max_length: tokens of a window; None: one window a row.

    Raises:
        DataError: the windows take more memory than they may.
    """
    divided: list[list[Window]] = [[] for _ in rows]
    total = 0
    for begin in range(0, len(rows), _CHUNK):
        chunk = rows[begin : begin + _CHUNK]
        for stride, members in _strides(chunk, processor, max_length).items():
            of = [chunk[i] for i in members]
            if stride is None or max_length is None:
                parts = [[window] for window in whole(of, processor)]
                if max_length is not None:
                    parts = [[window.shortened(max_length)] for (window,) in parts]
            else:
                parts = _tokenized(of, processor, max_length, stride)
            for i, part in zip(members, parts, strict=True):
                divided[begin + i] = part
                total += sum(map(len, part))
        if total > MOST_TOKENS:
            raise DataError(
                f"the first {begin + len(chunk)} of {len(rows)} rows make windows of {total:,} tokens in "
                f"all, and {MOST_TOKENS:,} are held in memory at most: give fewer rows (data.limit, or fewer "
                "in the file), or shorter contexts"
            )
    return divided


def _strides(rows: Sequence[Row], processor: Any, max_length: int | None) -> dict[int | None, list[int]]:
    """Rows by the tokens that neighboring windows share; None where a row has one window alone."""
    if max_length is None:
        return {None: list(range(len(rows)))}
    room = max_length - question_tokens(rows, processor)
    usual = min(STRIDE, max_length // 2)
    by_stride: dict[int | None, list[int]] = {}
    for i, left in enumerate(room.tolist()):
        stride = None if left < max(1, max_length // 4) else min(usual, 3 * left // 4)
        by_stride.setdefault(stride, []).append(i)
    return by_stride


def padded(parts: Sequence[Window], processor: Any) -> dict[str, np.ndarray]:
    """The inputs of some windows as arrays int64 [windows, tokens of the longest], padded at their end."""
    width = max(map(len, parts))
    arrays = {}
    for name in parts[0].inputs:
        value = getattr(processor, _PADDING[name]) if name in _PADDING else 0
        array = np.full((len(parts), width), value, dtype=np.int64)
        for i, part in enumerate(parts):
            array[i, : len(part)] = part.inputs[name]
        arrays[name] = array
    return arrays


def offsets(parts: Sequence[Window]) -> np.ndarray:
    """Their offsets, int64 [windows, tokens of the longest, 2], -1 for padding."""
    array = np.full((len(parts), max(map(len, parts)), 2), -1, dtype=np.int64)
    for i, part in enumerate(parts):
        array[i, : len(part)] = part.offsets
    return array
