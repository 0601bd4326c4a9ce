"""Batches of rows of similar length, in an order that only seed and epoch decide.

Rows are encoded once, before training, sorted by length so that little is padding; a batch is then
a gather. What the task pads with is learned from the task itself (one short row is encoded alone
and beside a long one), so that no task has to say it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from compress.tasks import Batch, Row

Encode = Callable[[Sequence[Row]], Batch]

_CHUNK_CELLS = 1 << 16  # tokens (or samples) that are encoded at a time
_CHUNK_ROWS = 64  # the same for rows without a length
_WINDOW = 100  # batches that are sorted together: shuffled enough, padded little
_LABELS = "\0labels"  # cannot clash with a model input
_TRUNCATED = "\0truncated"
_EXTRA = "\0extra:"
_BUDGET_BYTES = 2 << 30


@dataclass(frozen=True)
class TorchBatch:
    """Encoded rows as tensors on the training device.

    Attributes:
        inputs: name -> tensor with the batch as first axis; the model's arguments.
        labels: what the task's loss takes, or None for unlabelled rows.
        rows: which rows these are, by their place in the training rows.
        arrays: the same batch as arrays, for what the task computes in numpy.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor | None
    rows: np.ndarray
    arrays: Batch

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.rows)


def plan_epoch(
    lengths: np.ndarray | None, count: int, batch_size: int, seed: int, epoch: int, groups: np.ndarray | None
) -> list[np.ndarray]:
    """The batches of an epoch as row indices: alike in length inside, shuffled among each other.

    Args:
        lengths: tokens of each row [count]; None where rows have no length.
        count: how many rows there are.
        batch_size: rows a batch; the last one of each group may be smaller.
        seed: of the run.
        epoch: counted from 0; with the seed it decides the order.
        groups: a number for each row [count]; rows of different groups never share a batch.
    """
    source = np.random.default_rng([seed, epoch])
    batches: list[np.ndarray] = []
    for group in [None] if groups is None else np.unique(groups):
        members = np.arange(count) if group is None else np.flatnonzero(groups == group)
        order = source.permutation(members)
        window = batch_size * _WINDOW
        for start in range(0, len(order), window):
            part = order[start : start + window]
            if lengths is not None:
                part = part[np.argsort(lengths[part], kind="stable")]
            batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[at] for at in source.permutation(len(batches))]


def lists_a_batch(lists: np.ndarray, batch_size: int) -> int:
    """How many lists make about so many rows: one at least.

    Args:
        lists: a number for each row [count]; rows of one number stay together.
        batch_size: rows a batch, on average.
    """
    return max(1, round(batch_size * len(np.unique(lists)) / len(lists)))


def plan_lists(
    lengths: np.ndarray | None, lists: np.ndarray, batch_size: int, seed: int, epoch: int
) -> list[np.ndarray]:
    """``plan_epoch`` of whole lists: a batch holds all rows of each list in it, and about ``batch_size``."""
    members = [np.flatnonzero(lists == number) for number in np.unique(lists)]
    longest = None if lengths is None else np.array([lengths[rows].max() for rows in members])
    plan = plan_epoch(longest, len(members), lists_a_batch(lists, batch_size), seed, epoch, None)
    return [np.concatenate([members[number] for number in picks]) for picks in plan]


def plan_sorted(
    lengths: np.ndarray | None, count: int, batch_size: int, groups: np.ndarray | None = None
) -> list[np.ndarray]:
    """Every row once in batches of like length and one group each, shortest first: for inference."""
    plan: list[np.ndarray] = []
    for group in [None] if groups is None else np.unique(groups):
        members = np.arange(count) if group is None else np.flatnonzero(groups == group)
        if lengths is not None:
            members = members[np.argsort(lengths[members], kind="stable")]
        plan += [members[at : at + batch_size] for at in range(0, len(members), batch_size)]
    return plan


def _alike(lengths: np.ndarray | None, count: int, groups: np.ndarray | None) -> Iterator[np.ndarray]:
    """Chunks of rows of one group and one length each, so that nothing in them is padded."""
    for members in plan_sorted(lengths, count, count, groups):
        cuts = [] if lengths is None else (np.flatnonzero(np.diff(lengths[members])) + 1).tolist()
        for start, stop in pairwise([0, *cuts, len(members)]):
            size = _CHUNK_ROWS
            if lengths is not None:
                size = max(1, _CHUNK_CELLS // max(1, int(lengths[members[start]])))
            for at in range(start, stop, size):
                yield members[at : min(at + size, stop)]


def apart(lengths: np.ndarray | None, groups: np.ndarray | None, pads: bool) -> np.ndarray | None:
    """Group numbers that keep rows of different lengths out of one batch, where padding moves the answers.

    Args:
        lengths: tokens of each row [count], after truncation; None where rows have no length.
        groups: a number for each row [count], or None.
        pads: whether rows of several lengths may share a batch: the groups then stay as they are.
    """
    if pads or lengths is None:
        return groups
    kinds = np.zeros_like(lengths) if groups is None else groups
    return np.unique(np.stack([kinds, lengths]), axis=1, return_inverse=True)[1].reshape(-1)


def steps_per_epoch(
    count: int, batch_size: int, groups: np.ndarray | None, lists: np.ndarray | None = None
) -> int:
    """How many batches ``plan_epoch`` makes, or ``plan_lists`` where there are lists."""
    if lists is not None:
        return -(-len(np.unique(lists)) // lists_a_batch(lists, batch_size))
    sizes = [count] if groups is None else np.unique(groups, return_counts=True)[1].tolist()
    return sum(-(-size // batch_size) for size in sizes)


@dataclass(frozen=True)
class _Padding:
    value: Any
    left: bool


def _arrays(batch: Batch) -> dict[str, np.ndarray]:
    """Every array of a batch under one name each."""
    by_name = dict(batch.inputs) | {_EXTRA + name: array for name, array in batch.extras.items()}
    for name, array in ((_LABELS, batch.labels), (_TRUNCATED, batch.truncated)):
        if array is not None:
            by_name[name] = array
    return by_name


def _batch(arrays: dict[str, np.ndarray]) -> Batch:
    """The batch that ``_arrays`` took apart."""
    return Batch(
        inputs={name: array for name, array in arrays.items() if not name.startswith("\0")},
        labels=arrays.get(_LABELS),
        truncated=arrays.get(_TRUNCATED),
        extras={k.removeprefix(_EXTRA): array for k, array in arrays.items() if k.startswith(_EXTRA)},
    )


def learn_padding(alone: Batch, beside: Batch) -> dict[str, _Padding] | None:
    """What each array pads a row with and on which side; None where that is no single constant.

    Args:
        alone: one row.
        beside: the same row first, then a longer one.
    """
    paddings: dict[str, _Padding] = {}
    wide = _arrays(beside)
    for name, narrow in _arrays(alone).items():
        padded = wide[name][:1]
        if narrow.shape == padded.shape:
            continue
        if narrow.ndim < 2 or narrow.shape[2:] != padded.shape[2:]:
            return None
        width = narrow.shape[1]
        if np.array_equal(padded[:, :width], narrow):
            left, added = False, padded[:, width:]
        elif np.array_equal(padded[:, -width:], narrow):
            left, added = True, padded[:, :-width]
        else:
            return None
        if added.size == 0 or (added != added.flat[0]).any():
            return None
        paddings[name] = _Padding(value=added.flat[0], left=left)
    return paddings


class EncodedRows:
    """Rows that are encoded once and gathered into batches, as the task would encode them together."""

    def __init__(
        self,
        rows: Sequence[Row],
        encode: Encode,
        lengths: np.ndarray | None,
        groups: np.ndarray | None = None,
        budget_bytes: int = _BUDGET_BYTES,
    ) -> None:
        """Encode the rows, or keep them as they are when that would pass the budget.

        Args:
            rows: the rows.
            encode: the task's encoding, padding to the longest row given.
            lengths: tokens of each row, or None.
            groups: rows of different groups are encoded apart (labelled and unlabelled ones).
            budget_bytes: of memory; beyond it rows are encoded batch by batch.
        """
        self._rows = rows
        self._encode = encode
        self._chunks: list[dict[str, np.ndarray]] = []
        self._place = np.zeros((len(rows), 2), dtype=np.int64)
        self._padding = self._learn(lengths, groups)
        if self._padding is not None:
            self._fill(lengths, groups, budget_bytes)

    @property
    def cached(self) -> bool:
        """Whether the rows lie encoded in memory."""
        return bool(self._chunks)

    def _learn(self, lengths: np.ndarray | None, groups: np.ndarray | None) -> dict[str, _Padding] | None:
        learned: dict[str, _Padding] = {}
        if lengths is None:
            return learned
        for group in [0] if groups is None else np.unique(groups):
            members = np.arange(len(lengths)) if groups is None else np.flatnonzero(groups == group)
            order = members[np.argsort(lengths[members], kind="stable")]
            if lengths[order[0]] == lengths[order[-1]]:
                continue
            short, long = self._rows[order[0]], self._rows[order[-1]]
            paddings = learn_padding(self._encode([short]), self._encode([short, long]))
            if paddings is None:
                return None
            learned |= paddings
        return learned

    def _fill(self, lengths: np.ndarray | None, groups: np.ndarray | None, budget: int) -> None:
        used = 0.0
        for members in _alike(lengths, len(self._rows), groups):
            arrays = _arrays(self._encode([self._rows[i] for i in members]))
            used += sum(array.nbytes for array in arrays.values())
            if used > budget or not self._joins(arrays):
                self._chunks = []
                return
            self._place[members, 0] = len(self._chunks)
            self._place[members, 1] = np.arange(len(members))
            self._chunks.append(arrays)

    def _joins(self, arrays: dict[str, np.ndarray]) -> bool:
        """Whether a chunk differs from the first only along axes whose padding is known."""
        padding = self._padding or {}
        first = self._chunks[0] if self._chunks else arrays
        return all(
            array.dtype == first[name].dtype
            and array.shape[2:] == first[name].shape[2:]
            and (name in padding or array.shape[1:] == first[name].shape[1:])
            for name, array in arrays.items()
            if name in first
        )

    def gather(self, indices: np.ndarray) -> Batch:
        """The rows of some indices, padded to the longest of their chunks."""
        if not self._chunks:
            return self._encode([self._rows[i] for i in indices])
        place = self._place[indices]
        used = np.unique(place[:, 0])
        parts = [(self._chunks[c], np.flatnonzero(place[:, 0] == c)) for c in used]
        joined: dict[str, np.ndarray] = {}
        for name, first in parts[0][0].items():
            padding = (self._padding or {}).get(name)
            if padding is None:
                array = np.empty((len(indices), *first.shape[1:]), dtype=first.dtype)
                for chunk, at in parts:
                    array[at] = chunk[name][place[at, 1]]
            else:
                width = max(chunk[name].shape[1] for chunk, _ in parts)
                array = np.full((len(indices), width, *first.shape[2:]), padding.value, dtype=first.dtype)
                for chunk, at in parts:
                    chunk_width = chunk[name].shape[1]
                    span = slice(width - chunk_width, width) if padding.left else slice(0, chunk_width)
                    array[at, span] = chunk[name][place[at, 1]]
            joined[name] = array
        return _batch(joined)

    def batches(self, plan: Sequence[np.ndarray], device: str) -> Iterator[TorchBatch]:
        """The batches of a plan on a device; rows that are not in memory are encoded one batch ahead."""
        if self._chunks:
            for indices in plan:
                yield to_torch(self.gather(indices), indices, device)
            return
        with ThreadPoolExecutor(max_workers=1) as ahead:
            pending = ahead.submit(self.gather, plan[0]) if plan else None
            for at, indices in enumerate(plan):
                batch = pending.result() if pending is not None else self.gather(indices)
                pending = ahead.submit(self.gather, plan[at + 1]) if at + 1 < len(plan) else None
                yield to_torch(batch, indices, device)


def to_torch(batch: Batch, rows: np.ndarray, device: str) -> TorchBatch:
    """Encoded rows as tensors on a device."""
    return TorchBatch(
        inputs={name: torch.from_numpy(array).to(device) for name, array in batch.inputs.items()},
        labels=None if batch.labels is None else torch.from_numpy(batch.labels).to(device),
        rows=rows,
        arrays=batch,
    )
