"""Which layers of a teacher its student keeps: a rule's answer, or the best of all subsets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress import log
from compress.distillation.losses import kl_loss
from compress.distillation.student import (
    SEARCH_LIMIT,
    Rule,
    block_influence,
    by_influence,
    check_choice,
    check_keep,
    drop_top,
    every_other,
    keeping_first,
    search,
    stack_of,
    subsets,
)
from compress.errors import DataError
from compress.model.layers import first_is_fixed, real_tokens
from compress.tasks import Batch, Head, Row, Task
from compress.training.batching import EncodedRows, TorchBatch, apart, plan_sorted, to_torch
from compress.training.selection import row_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_BATCH = 64
_SHOWN = 10


@dataclass(frozen=True)
class LayerChoice:
    """The layers that a student keeps.

    Attributes:
        layers: counted from 0.
        facts: what the choice rests on, as JSON values.
    """

    layers: tuple[int, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def choose_layers(
    teacher: PreTrainedModel,
    choice: int | tuple[int, ...] | None,
    rule: Rule,
    calibration: Calibration,
) -> LayerChoice:
    """The layers of a teacher that its student keeps.

    Args:
        teacher: left whole.
        choice: how many, or which ones; None keeps half of them.
        rule: how they are chosen where only their number is given.
        calibration: rows to compare on; used by ``search`` and ``block-influence``.

    Raises:
        RecipeError: as many layers as the teacher has, or none, or others than it has.
        DataError: the rule needs calibration rows and there are none.
    """
    stack = stack_of(teacher)
    layers, fixed = len(stack), first_is_fixed(stack.layers)
    if isinstance(choice, tuple):
        return LayerChoice(check_choice(layers, choice))
    keep = choice if choice is not None else max(1, layers // 2)
    check_keep(layers, keep)
    if rule == "auto":
        rule = "search" if len(subsets(layers, keep)) <= SEARCH_LIMIT else "every-other"
    if rule == "every-other":
        return LayerChoice(keeping_first(every_other, layers, keep) if fixed else every_other(layers, keep))
    if rule == "drop-top":
        return LayerChoice(drop_top(keep))
    if rule == "block-influence":
        influence = calibration.influence(teacher)
        ranked = [math.inf, *influence[1:]] if fixed else influence
        return LayerChoice(by_influence(ranked, keep), {"block_influence": influence})
    tried = search(teacher, keep, calibration.against(teacher))
    best, distance = tried[0]
    log.info("the student keeps layers %s (KL %.4f, best of %d subsets)", list(best), distance, len(tried))
    leaders = [{"layers": list(layers), "kl": kl} for layers, kl in tried[:_SHOWN]]
    return LayerChoice(best, {"tried": leaders, "subsets": len(tried)})


class Calibration:
    """What models answer to the calibration rows."""

    def __init__(
        self,
        task: Task,
        head: Head,
        processor: Any,
        rows: Sequence[Row],
        max_length: int | None,
        device: str,
        pads: bool = True,
    ) -> None:
        """Take the rows; they are encoded when first needed.

        Args:
            task: the task module.
            head: what the models predict.
            processor: tokenizer or image processor.
            rows: calibration rows.
            max_length: token limit.
            device: where the models compute meanwhile.
            pads: whether rows of several lengths may share a batch.
        """
        self._task = task
        self._head = head
        self._processor = processor
        self._rows = task.pieces(rows, processor, max_length).rows if len(rows) else rows
        self._max_length = max_length
        self._device = device
        self._pads = pads
        self._links = task.link(head)

    @cached_property
    def _batches(self) -> list[TorchBatch]:
        if len(self._rows) == 0:
            raise DataError(
                "choosing layers by search or block influence needs calibration rows: give data with "
                "training rows, or name the layers, or take rule: every-other"
            )
        lengths = row_lengths(self._task, self._rows, self._processor, self._max_length)
        source = EncodedRows(self._rows, self._encode, lengths)
        plan = plan_sorted(lengths, len(self._rows), _BATCH, apart(lengths, None, self._pads))
        return [to_torch(source.gather(part), part, self._device) for part in plan]

    def _encode(self, rows: Sequence[Row]) -> Batch:
        batch: Batch = self._task.encode(rows, self._processor, self._head, self._max_length, labelled=False)
        return batch

    @contextmanager
    def _placed(self, model: PreTrainedModel) -> Iterator[None]:
        home = next(model.parameters()).device
        model.to(self._device)
        try:
            with torch.inference_mode():
                yield
        finally:
            model.to(home)

    def _answers(self, model: PreTrainedModel) -> list[dict[str, torch.Tensor]]:
        with self._placed(model):
            batch_outputs = [model(**batch.inputs) for batch in self._batches]
        return [{name: outputs[name] for name in self._links} for outputs in batch_outputs]

    def against(self, teacher: PreTrainedModel) -> Callable[[PreTrainedModel], float]:
        """A function that gives a model's mean KL from the teacher's answers of now."""
        answers = self._answers(teacher)

        def distance(model: PreTrainedModel) -> float:
            total = 0.0
            for batch, ours, theirs in zip(self._batches, self._answers(model), answers, strict=True):
                counts = self._task.positions(batch.arrays)
                at = None if counts is None else torch.from_numpy(counts).to(self._device)
                for name, link in self._links.items():
                    total += float(kl_loss(ours[name], theirs[name], link, 1.0, at)) * len(batch)
            return total / len(self._rows)

        return distance

    def influence(self, model: PreTrainedModel) -> list[float]:
        """Block influence of every layer, averaged over the rows."""
        weighted = []
        with self._placed(model):
            for batch in self._batches:
                states = model(**batch.inputs, output_hidden_states=True)["hidden_states"]
                mask = real_tokens(batch.inputs, states[0].shape[1])
                weighted.append(np.array(block_influence(states, mask)) * len(batch))
        total: np.ndarray = sum(weighted[1:], weighted[0]) / len(self._rows)
        return [float(value) for value in total]
