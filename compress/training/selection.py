"""The figures that pick weights: the task's metrics on the selection rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from compress import log
from compress.tasks import Head, Prediction, Row, Task
from compress.training.batching import EncodedRows, apart, plan_sorted, to_torch

_BATCH = 64


class Selection:
    """Scores a model on rows that were encoded once. Call it with the model."""

    def __init__(
        self,
        task: Task,
        head: Head,
        rows: Sequence[Row],
        processor: Any,
        max_length: int | None,
        pads: bool = True,
    ) -> None:
        """Encode the rows.

        Args:
            task: the task module.
            head: what the model predicts.
            rows: labelled rows, aligned with the head.
            processor: tokenizer or image processor.
            max_length: token limit.
            pads: whether rows of several lengths may share a batch.
        """
        self._task = task
        self._head = head
        self._references = [task.reference(row, head) for row in rows]
        for caveat in task.caveats(self._references):
            log.once("Selection rows: %s.", caveat)
        self._pieces = task.pieces(rows, processor, max_length)
        rows = self._pieces.rows
        lengths = row_lengths(task, rows, processor, max_length)
        self._encoded = EncodedRows(
            rows, lambda chunk: task.encode(chunk, processor, head, max_length, labelled=False), lengths
        )
        self._plan = plan_sorted(lengths, len(rows), _BATCH, apart(lengths, None, pads))

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The task's figures, the main one first; the model is in eval mode and stays where it is."""
        device = str(next(model.parameters()).device)
        by_piece: dict[int, Prediction] = {}
        for indices in self._plan:
            batch = to_torch(self._encoded.gather(indices), indices, device)
            with torch.inference_mode():
                outputs = model(**batch.inputs)
            arrays = {name: outputs[name].float().cpu().numpy() for name in self._task.OUTPUTS}
            by_piece.update(
                zip(indices.tolist(), self._task.decode(arrays, batch.arrays, self._head), strict=True)
            )
        in_order = [by_piece[i] for i in range(len(by_piece))]
        predictions = self._task.joined(in_order, self._pieces, self._head)
        statistics = self._task.statistics(predictions, self._references, self._head)
        figures: dict[str, float] = self._task.metrics(statistics.sum(axis=0), self._head)
        return figures


def row_lengths(task: Task, rows: Sequence[Row], processor: Any, max_length: int | None) -> np.ndarray | None:
    """Tokens of each row after truncation, int64 [rows]; None where rows have no length."""
    lengths = task.lengths(rows, processor)
    if lengths is None or max_length is None:
        return lengths
    return np.minimum(lengths, max_length)


def truncated_share(task: Task, rows: Sequence[Row], processor: Any, max_length: int | None) -> float:
    """The share of rows that are longer than the token limit, from 0 to 1."""
    lengths = task.lengths(rows, processor)
    if lengths is None or max_length is None or len(rows) == 0:
        return 0.0
    return float((lengths > max_length).mean())
