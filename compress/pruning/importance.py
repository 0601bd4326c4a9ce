"""How much every unit of a model matters: rows in, signals collected, a criterion's scores out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress import tasks
from compress.criteria import Criterion, Signals
from compress.errors import DataError, ModelError
from compress.pruning import signals as signal
from compress.pruning.anatomy import Part, parts_of
from compress.pruning.channels import Channels, channels_of, is_convolutional
from compress.pruning.targets import Scores
from compress.tasks import Batch, Head, Row, Task
from compress.training.batching import EncodedRows, TorchBatch, apart, plan_sorted, to_torch
from compress.training.examples import examples
from compress.training.selection import row_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.data import TrainingData

_BATCH = 32


class Rows:
    """The training side as batches on a device, for measuring (never for training)."""

    def __init__(
        self,
        data: TrainingData | None,
        task: Task,
        head: Head,
        processor: Any,
        max_length: int | None,
        device: str,
        pads: bool = True,
    ) -> None:
        """Keep what rows are read with.

        Args:
            data: aligned with the head; None where there is none.
            task: the task module.
            head: what the model predicts.
            processor: tokenizer or image processor.
            max_length: token limit.
            device: where batches go.
            pads: whether rows of several lengths may share a batch.
        """
        self.data = data
        self.task = task
        self.head = head
        self._processor = processor
        self._max_length = max_length
        self._device = device
        self._pads = pads

    def sample(self, count: int, seed: int) -> list[TorchBatch]:
        """At most so many training rows, drawn by the seed; unlabelled rows where there are no others."""
        data = self._data()
        rows = data.train if len(data.train) else data.unlabeled
        picked = np.random.default_rng([seed, 0]).permutation(len(rows))[:count]
        drawn = [rows[index] for index in sorted(picked)]
        return self._batches(drawn, labelled=tasks.all_labelled(self.task, drawn))

    def calibration(self) -> list[TorchBatch]:
        """What the model sees of the calibration rows, whose labels nobody reads."""
        return self._batches(list(self._data().calibration), labelled=False)

    def _data(self) -> TrainingData:
        if self.data is None:
            raise DataError("There are no rows to measure on: give --data DIR, or 'data:' in the recipe")
        return self.data

    def _batches(self, rows: Sequence[Row], *, labelled: bool) -> list[TorchBatch]:
        """Rows of like length together, as the loss by labels wants them or as the model sees them."""
        if labelled:
            rows = examples(self.task, rows, self._processor, self._max_length)
        elif len(rows):
            rows = self.task.pieces(rows, self._processor, self._max_length).rows

        def encode(rows: Sequence[Row]) -> Batch:
            batch: Batch = self.task.encode(
                rows, self._processor, self.head, self._max_length, labelled=labelled
            )
            return batch

        lengths = row_lengths(self.task, rows, self._processor, self._max_length)
        encoded = EncodedRows(rows, encode, lengths)
        return [
            to_torch(encoded.gather(indices), indices, self._device)
            for indices in plan_sorted(lengths, len(rows), _BATCH, apart(lengths, None, self._pads))
        ]


def measure(
    model: PreTrainedModel,
    criterion: Criterion,
    options: Any,
    rows: Rows,
    *,
    count: int,
    seed: int,
    generator: torch.Generator,
) -> Scores:
    """The scores of every unit in the model as it is now, by part name.

    Args:
        model: in eval mode, on the rows' device.
        criterion: the criterion's module.
        options: its validated ``Config``.
        rows: where the signals that it needs are collected.
        count: at most so many rows.
        seed: draws the rows.
        generator: for criteria of chance.

    Raises:
        DataError: the criterion needs rows or labels that are not there.
        TrainingError: a signal is not a number.
        ModelError: a score is not finite, or the model's family is not known.
    """
    parts: Sequence[Part | Channels] = channels_of(model) if is_convolutional(model) else parts_of(model)
    signals = signal.collect(
        model,
        parts,
        rows.sample(count, seed) if criterion.NEEDS else [],
        criterion.NEEDS,
        loss=lambda outputs, labels, batch: rows.task.loss(outputs, labels, rows.head, batch),
    )
    return score(parts, signals, criterion, options, generator)


def score(
    parts: Sequence[Part | Channels],
    signals: Mapping[str, Signals],
    criterion: Criterion,
    options: Any,
    generator: torch.Generator,
) -> Scores:
    """The scores of every part's units, by part name.

    Raises:
        ModelError: a score is not finite.
    """
    by_part: dict[str, tuple[float, ...]] = {}
    for part in parts:
        scores = criterion.score(part.structure(), signals[part.name], options, generator)
        if scores.shape != (part.units,):
            raise ValueError(
                f"the criterion '{criterion.NAME}' gave scores of shape {tuple(scores.shape)} for {part.name}"
            )
        if not bool(torch.isfinite(scores).all()):
            raise ModelError(
                f"The scores of {part.name} are not all finite numbers: check the model's weights"
            )
        by_part[part.name] = tuple(float(value) for value in scores)
    return by_part
