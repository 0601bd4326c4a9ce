"""Training a student to do what its teacher does, on the one training loop.

    loss = task_weight * task + logits_weight * t^2 KL + hidden_weight * hidden + relation_weight * relations

Models that make vectors are held to them in place of the KL, and with ``likeness_weight`` to how alike the
texts of a batch are.

``hidden`` is the mean squared error of each imitated layer over real tokens, divided by the mean
square of the teacher's states: 1 means as wrong as answering zero, whatever the architecture's
scale. Where widths differ, the last imitated layer's query, key and value relations take its place.
Unlabelled rows join with the teacher's terms only. The pure losses are in ``losses``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from compress import processes, tasks
from compress.distillation.losses import (
    hidden_mse,
    kept_at,
    kl_loss,
    likeness_loss,
    relation_heads,
    relation_loss,
)
from compress.distillation.student import depth_of, stack_of, uniform_map
from compress.distillation.taps import Tap, Want, flatten, unflatten
from compress.distillation.teacher import Teacher, TeacherCache
from compress.errors import ModelError, RecipeError
from compress.model import sample
from compress.model.layers import attention_linears, real_tokens
from compress.stage import StageConfig
from compress.tasks import Batch, Head, Row, Task
from compress.training.batching import EncodedRows, TorchBatch, apart, plan_sorted, to_torch
from compress.training.history import History
from compress.training.loop import TrainingConfig, precision_of, train
from compress.training.objectives import TaskObjective
from compress.training.selection import Selection, row_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.data import TrainingData


class DistillationConfig(StageConfig):
    """What a student is held to.

    Attributes:
        temperature: softens both sides of the KL.
        task_weight: of the task's own loss, on labelled rows.
        logits_weight: of the KL to the teacher's outputs.
        hidden_weight: of the hidden states, where student and teacher are equally wide.
        likeness_weight: of the cosines between the vectors of a batch, of models that make vectors.
        relation_weight: of the MiniLMv2 relations, where they are not.
        relation_heads: into how many heads queries, keys and values are split; the largest number up
            to this one that divides both widths is taken.
        cache_gib: the teacher's inner states are kept on disk up to this size.
    """

    temperature: float = Field(default=2.0, gt=0, le=1000)
    task_weight: float = Field(default=0.5, ge=0, le=1e6)
    logits_weight: float = Field(default=0.5, ge=0, le=1e6)
    likeness_weight: float = Field(default=0.0, ge=0, le=1e6)
    hidden_weight: float = Field(default=1.0, ge=0, le=1e6)
    relation_weight: float = Field(default=1.0, ge=0, le=1e6)
    relation_heads: int = Field(default=48, ge=1, le=1024)
    cache_gib: float = Field(default=4.0, ge=0, le=1e5)


def distill(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    *,
    task: Task,
    head: Head,
    processor: Any,
    data: TrainingData,
    max_length: int | None,
    training: TrainingConfig,
    loss: DistillationConfig,
    layer_map: Sequence[int] | None,
    scratch: Path,
    seed: int,
    device: str,
    threads: int,
    description: str,
    pads: bool = True,
) -> History:
    """Train the student in place; gradients flow into it alone.

    Args:
        student: the model to train; left with its best weights, in eval mode.
        teacher: a model of the same task and head; left in eval mode, unchanged, where it was.
        task: the task module.
        head: what both predict.
        processor: tokenizer or image processor of both.
        data: training rows, aligned with the head (``data.for_head``).
        max_length: token limit.
        training: how to train.
        loss: what the student is held to.
        layer_map: for each student layer the teacher layer (1-based) that it imitates; None spreads
            the student's layers evenly over the teacher's.
        scratch: folder for checkpoints and the teacher's outputs.
        seed: of batch order and dropout.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads.
        description: shown in the progress bar.
        pads: whether rows of several lengths may share a batch, with both models.

    Raises:
        ModelError: the two cannot be compared (other outputs, no layer stack, no relations).
        TrainingError: as for ``train``; the teacher's outputs are not finite, or the disk is full.
    """
    if loss.likeness_weight and head.answer != "vector":
        raise RecipeError(
            "likeness_weight holds the vectors of a batch together, and this model makes none: leave it at 0"
        )
    rows = list(task.pieces(learnable(data, task), processor, max_length).rows)
    groups = np.array([0 if tasks.has_label(task, row) else 1 for row in rows], dtype=np.int64)
    lengths = row_lengths(task, rows, processor, max_length)

    def encode(rows: Sequence[Row]) -> Batch:
        labelled = tasks.all_labelled(task, rows)
        batch: Batch = task.encode(rows, processor, head, max_length, labelled=labelled)
        return batch

    team = processes.team(device)
    home = next(teacher.parameters()).device
    source = EncodedRows(rows, encode, lengths, groups)
    probe = to_torch(source.gather(np.arange(1)), np.arange(1), str(home))
    match = plan_match(student, teacher, probe, loss, layer_map, task.OUTPUTS)
    bf16 = precision_of(training.precision, team.device) == "bf16"
    teacher.to(team.device)
    answers = Teacher(teacher, task, match.teacher, bf16)
    plan = plan_sorted(lengths, len(rows), training.batch_size, apart(lengths, groups, pads))
    arguments: dict[str, Any] = {
        # The positions of a sound are fewer than its samples, by a factor of the model's own.
        "tokens": int(lengths.sum()) if lengths is not None and sample.has_texts(task) else None,
        "folder": scratch / "teacher",
        "budget_bytes": int(loss.cache_gib * 2**30),
        "device": team.device,
        "description": description,
    }
    cache = TeacherCache(answers, source, plan, **arguments) if team.main else None
    team.wait()
    if cache is None:
        cache = TeacherCache(answers, source, plan, **arguments, fill=False)
    history = train(
        student,
        rows=rows,
        encode=encode,
        lengths=lengths,
        objective=DistillationObjective(student, cache, match, task, head, loss),
        evaluate=Selection(task, head, data.selection, processor, max_length, pads)
        if len(data.selection)
        else None,
        config=training,
        scratch=scratch,
        seed=seed,
        device=device,
        threads=threads,
        description=description,
        groups=groups,
        encoded=source,
        pads=pads,
    )
    teacher.to(home)
    return history


def learnable(data: TrainingData, task: Task) -> list[Row]:
    """All rows that a student can learn from: the training rows, then those without a label."""
    rows: list[Row] = list(data.train) if len(data.train) or not len(data.unlabeled) else []
    if len(data.unlabeled):
        rows += [{k: v for k, v in row.items() if k != task.LABEL} for row in data.unlabeled]
    return rows


@dataclass(frozen=True)
class Match:
    """Which states of student and teacher are compared.

    Attributes:
        student: what is read of the student.
        teacher: what is read of the teacher.
        heads: relation heads; 0 where hidden states or nothing is compared.
    """

    student: Want = Want()  # noqa: RUF009 - frozen too
    teacher: Want = Want()  # noqa: RUF009 - as above
    heads: int = 0


def plan_match(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    probe: TorchBatch,
    loss: DistillationConfig,
    layer_map: Sequence[int] | None,
    outputs: Sequence[str],
) -> Match:
    """Hidden states where both are equally wide, relations of the last imitated layer where not.

    Args:
        student: to be trained.
        teacher: to be imitated.
        probe: a batch on the device of both.
        loss: what is weighed.
        layer_map: as for ``distill``.
        outputs: names of the outputs that are compared.

    Raises:
        ModelError: the outputs differ in shape, or what should be compared cannot be found.
    """
    with torch.no_grad():
        ours = student.eval()(**probe.inputs, output_hidden_states=True)
        theirs = teacher.eval()(**probe.inputs, output_hidden_states=True)
    for name in outputs:
        if ours[name].shape != theirs[name].shape:
            raise ModelError(
                f"student and teacher must answer alike: their {name} have the shapes "
                f"{tuple(ours[name].shape)} and {tuple(theirs[name].shape)}; fine-tune both on the same "
                "labels"
            )
    if not loss.hidden_weight and not loss.relation_weight:
        return Match()
    depths = depth_of(student), depth_of(teacher)
    chosen = tuple(layer_map) if layer_map is not None else uniform_map(*depths)
    if len(chosen) != depths[0] or not all(1 <= layer <= depths[1] for layer in chosen):
        raise ModelError(
            f"the layer map {list(chosen)} should name, for each of the student's {depths[0]} layers, one of "
            f"the teacher's layers 1 to {depths[1]}"
        )
    if ours["hidden_states"][-1].shape == theirs["hidden_states"][-1].shape:
        if not loss.hidden_weight:
            return Match()
        return Match(Want(hidden=tuple(range(1, depths[0] + 1))), Want(hidden=chosen))
    if not loss.relation_weight:
        return Match()
    widths = [
        linear.out_features
        for model, layer in ((student, depths[0]), (teacher, chosen[-1]))
        for linear in attention_linears(stack_of(model).layers[layer - 1])
    ]
    heads = min(relation_heads(widths[i], widths[i + 3], loss.relation_heads) for i in range(3))
    return Match(Want(relations=depths[0]), Want(relations=chosen[-1]), heads)


class DistillationObjective:
    """The student's loss of a batch. Call it with the student (or a wrapper of it) and the batch."""

    def __init__(
        self,
        student: PreTrainedModel,
        cache: TeacherCache,
        match: Match,
        task: Task,
        head: Head,
        loss: DistillationConfig,
    ) -> None:
        """Take the teacher's answers and what to weigh how."""
        self._tap = Tap(student, match.student)
        self._cache = cache
        self._match = match
        self._task = task
        self._supervised = TaskObjective(task, head)
        self._links = task.link(head)
        self._loss = loss

    def __call__(self, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
        """The weighted sum, a scalar."""
        weights = self._loss
        outputs, states = self._tap.run(model, batch.inputs)
        target = self._cache(batch)
        total = weights.logits_weight * self._logits(outputs, target.outputs, batch)
        if weights.likeness_weight:
            for name in self._links:
                total = total + weights.likeness_weight * likeness_loss(outputs[name], target.outputs[name])
        if batch.labels is not None and weights.task_weight:
            total = total + weights.task_weight * self._supervised.of(outputs, batch)
        if states and target.states is not None:
            if self._match.heads:
                total = total + weights.relation_weight * self._relations(states, target.states, batch)
            else:
                total = total + weights.hidden_weight * self._hidden(states, target.states, batch)
        return total

    def _logits(
        self, outputs: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], batch: TorchBatch
    ) -> torch.Tensor:
        counts = self._task.positions(batch.arrays)
        terms = []
        for name, link in self._links.items():
            ours, theirs, at = outputs[name], target[name], None
            if counts is not None:
                at = torch.from_numpy(counts).to(ours.device)
                if link == "positions":
                    theirs = kept_at(at, theirs)
                else:
                    ours, at = ours[at], None
            terms.append(kl_loss(ours, theirs, link, self._loss.temperature, at))
        return torch.stack(terms).mean()

    def _hidden(self, states: list[torch.Tensor], target: torch.Tensor, batch: TorchBatch) -> torch.Tensor:
        mask = real_tokens(batch.inputs, states[0].shape[1])
        width = states[0].shape[-1]
        ours = flatten(states, mask)
        terms = [
            hidden_mse(mine, theirs, None) / theirs.square().mean().clamp_min(1e-12)
            for mine, theirs in zip(ours.split(width, dim=-1), target.split(width, dim=-1), strict=True)
        ]
        return torch.stack(terms).mean()

    def _relations(self, states: list[torch.Tensor], target: torch.Tensor, batch: TorchBatch) -> torch.Tensor:
        first = states[0]
        mask = real_tokens(batch.inputs, first.shape[1])
        if mask is None:
            mask = torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
        theirs = unflatten(target, mask).chunk(3, dim=-1)
        terms = [
            relation_loss(mine, yours, mask, self._match.heads)
            for mine, yours in zip(states, theirs, strict=True)
        ]
        return torch.stack(terms).sum()
