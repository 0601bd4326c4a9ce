"""Train a smaller model to do what its teacher does.

The student is the teacher with fewer layers (which ones is searched or follows a rule), or a model
that was given. With ``control`` the same student is also trained without the teacher, for as many
steps, so that the report can say what distillation gave.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field, model_validator

from compress import artifact, catalog, checkpoint, log, processes
from compress.artifact import Artifact
from compress.batching import EncodedRows, plan_sorted, to_torch
from compress.distillation import DistillationConfig, distill
from compress.errors import DataError, ModelError, RecipeError
from compress.layers import find_stack
from compress.losses import kl_loss
from compress.objectives import TaskObjective
from compress.selection import Selection, row_lengths
from compress.stages import Context, Role
from compress.student import (
    SEARCH_LIMIT,
    Rule,
    block_influence,
    by_influence,
    check_choice,
    check_keep,
    cut,
    drop_top,
    every_other,
    search,
    subsets,
    uniform_map,
)
from compress.taps import real_tokens
from compress.tasks import Batch, Head, Row
from compress.training import History, TrainingConfig, train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.data import TrainingData

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 1
TOOLS = ("torch", "transformers", "accelerate", "optimum")
DATA: frozenset[Role] = frozenset({"train", "selection", "calibration", "unlabeled"})
NEEDS_DATA = True
# The same bytes on a CPU with the same threads; CUDA's sums are not ordered.
DETERMINISTIC = False
ANCESTORS = True

_SHOWN = 10


class Config(DistillationConfig, TrainingConfig):
    """Which student, from which teacher; the rest as in ``TrainingConfig`` and ``DistillationConfig``.

    Attributes:
        layers: how many layers the student keeps, or which ones (counted from 0); half of them when
            neither this nor ``student`` is given.
        rule: how they are chosen; ``auto`` searches where there are at most 100 subsets and keeps
            every other layer where there are more.
        student: a folder with the student, in place of a cut teacher.
        teacher: ``source``, ``original`` (the first fine-tuned model of this run) or a folder.
        control: also train the same student without the teacher, and record both.
    """

    layers: int | tuple[int, ...] | None = None
    rule: Rule = "auto"
    student: Path | None = None
    teacher: str = "source"
    control: bool = False
    epochs: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _one_student(self) -> Config:
        if self.student is not None and self.layers is not None:
            raise ValueError("give either layers (cut the teacher) or student (a model of its own), not both")
        return self


def reads(config: Config) -> tuple[Path, ...]:
    """The folders of a given student and a given teacher."""
    given = [config.student] if config.student is not None else []
    if config.teacher not in {"source", "original"}:
        given.append(Path(config.teacher))
    return tuple(given)


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Choose the student, distill, save.

    Raises:
        RecipeError: layers, teacher or student that do not go together.
        ModelError: models that cannot be compared.
        TrainingError: the loss is no number, or a disk is full.
    """
    if source is None or ctx.data is None:
        raise DataError("distill needs a teacher and data")
    task = ctx.task
    folder = teacher_folder(source, config, ctx.ancestors)
    teacher = checkpoint.load(folder, task)
    head: Head = task.head_of(teacher.config.to_dict())
    data = ctx.data.for_head(task, head)
    processor = task.load_processor(folder)
    max_length = checkpoint.read_max_length(folder)
    origin = config.student or source.path
    if config.student is None:
        chosen = choose_layers(teacher, config, task, head, processor, data, max_length, ctx)
        student, layer_map = cut(teacher, chosen), tuple(layer + 1 for layer in chosen)
    else:
        student = given_student(config.student, head, data, processor, ctx)
        layer_map = uniform_map(len(find_stack(student)), len(find_stack(teacher)))
    control = copy.deepcopy(student) if config.control else None
    training = TrainingConfig(**config.model_dump(include=set(TrainingConfig.model_fields)))
    history = distill(
        student,
        teacher,
        task=task,
        head=head,
        processor=processor,
        data=data,
        max_length=max_length,
        training=training,
        loss=DistillationConfig(**config.model_dump(include=set(DistillationConfig.model_fields))),
        layer_map=layer_map,
        scratch=ctx.scratch,
        seed=ctx.seed,
        device=ctx.device,
        threads=ctx.threads,
        description="distill",
    )
    ctx.record("training", history.facts())
    ctx.record("layers", list(layer_map))
    if control is not None:
        plain = train_alone(control, task, head, processor, data, max_length, training, history.steps, ctx)
        ctx.record("control", comparison(history, plain))
    if processes.is_main():
        checkpoint.save(student, ctx.out, source=origin)
        checkpoint.write_max_length(ctx.out, max_length)


def teacher_folder(source: Artifact, config: Config, ancestors: Sequence[Artifact]) -> Path:
    """The folder of the teacher that a config means.

    Raises:
        RecipeError: there is no such teacher.
    """
    if config.teacher == "source":
        return source.path
    if config.teacher == "original":
        chain = [each for each in (*ancestors, source) if each.kind == "torch"]
        tuned = [each for each in chain if each.manifest.stage == "finetune"]
        return (tuned or chain)[0].path
    path = Path(config.teacher)
    if not path.is_dir():
        raise RecipeError(
            f"distill: there is no teacher at {path}; allowed are 'source', 'original' or a model folder"
        )
    return path


def given_student(
    folder: Path, head: Head, data: TrainingData, processor: Any, ctx: Context
) -> PreTrainedModel:
    """A student out of a folder, with the teacher's head; refused where it reads rows differently.

    Raises:
        RecipeError: there is no such folder.
        ModelError: it is no model of the task, or its processor encodes rows in another way.
    """
    if not folder.is_dir():
        raise RecipeError(f"distill: there is no student at {folder}; give a model folder or an artifact")
    loaded = catalog.load("stage", "load").pretrained(folder, ctx.task, head, ctx.seed)
    student: PreTrainedModel = loaded.model
    theirs = ctx.task.head_of(student.config.to_dict())
    if theirs != head:
        raise ModelError(
            f"the student at {folder} predicts {list(theirs.labels)} and the teacher {list(head.labels)}: "
            "give a student of the same labels in the same order, or a base model without a head"
        )
    rows = list(data.calibration[:16])
    own = ctx.task.load_processor(folder)
    mine, yours = (ctx.task.encode(rows, p, head, None, labelled=False).inputs for p in (own, processor))
    if mine.keys() != yours.keys() or any(not np.array_equal(mine[name], yours[name]) for name in mine):
        raise ModelError(
            f"the student at {folder} and the teacher turn the same rows into different inputs "
            "(another tokenizer or image size): distillation needs a student that reads rows like its teacher"
        )
    return student


def choose_layers(
    teacher: PreTrainedModel,
    config: Config,
    task: Any,
    head: Head,
    processor: Any,
    data: TrainingData,
    max_length: int | None,
    ctx: Context,
) -> tuple[int, ...]:
    """The teacher's layers that the student keeps, counted from 0; what was tried is recorded."""
    layers = len(find_stack(teacher))
    if isinstance(config.layers, tuple):
        return check_choice(layers, config.layers)
    keep = config.layers if config.layers is not None else max(1, layers // 2)
    check_keep(layers, keep)
    rule = config.rule
    if rule == "auto":
        rule = "search" if len(subsets(layers, keep)) <= SEARCH_LIMIT else "every-other"
    if rule == "every-other":
        return every_other(layers, keep)
    if rule == "drop-top":
        return drop_top(keep)
    calibration = Calibration(task, head, processor, data.calibration, max_length, ctx.device)
    teacher.to(ctx.device)  # type: ignore[arg-type]
    if rule == "block-influence":
        influence = calibration.influence(teacher)
        ctx.record("block_influence", influence)
        chosen = by_influence(influence, keep)
    else:
        calibration.remember(teacher)
        tried = search(teacher, keep, calibration.distance)
        ctx.record("tried", [{"layers": list(c), "kl": kl} for c, kl in tried[:_SHOWN]])
        chosen = tried[0][0]
        log.info("distill: keeps layers %s (KL %.4f, of %d subsets)", list(chosen), tried[0][1], len(tried))
    teacher.to("cpu")  # type: ignore[arg-type]
    return chosen


class Calibration:
    """What a model answers to the calibration rows, compared with what the whole teacher answers."""

    def __init__(
        self,
        task: Any,
        head: Head,
        processor: Any,
        rows: Sequence[Row],
        max_length: int | None,
        device: str,
    ) -> None:
        """Encode the rows.

        Raises:
            DataError: there are none.
        """
        if len(rows) == 0:
            raise DataError("distill: choosing layers by search or block influence needs calibration rows")
        lengths = row_lengths(task, rows, processor, max_length)
        source = EncodedRows(
            rows, lambda some: task.encode(some, processor, head, max_length, labelled=False), lengths
        )
        plan = plan_sorted(lengths, len(rows), 64)
        self._batches = [to_torch(source.gather(part), part, device) for part in plan]
        self._task = task
        self._links = task.link(head)
        self._answers: list[dict[str, torch.Tensor]] = []

    def _run(self, model: PreTrainedModel) -> list[dict[str, torch.Tensor]]:
        with torch.inference_mode():
            return [
                {name: model(**batch.inputs)[name] for name in self._links} for batch in self._batches
            ]

    def remember(self, teacher: PreTrainedModel) -> None:
        """Take a model's answers as the ones to compare with."""
        self._answers = self._run(teacher)

    def distance(self, model: PreTrainedModel) -> float:
        """Mean KL from the remembered answers, over all rows."""
        total, rows = 0.0, 0
        for batch, ours, theirs in zip(self._batches, self._run(model), self._answers, strict=True):
            counts = self._task.positions(batch.arrays)
            at = None if counts is None else torch.from_numpy(counts).to(next(iter(ours.values())).device)
            for name, link in self._links.items():
                total += float(kl_loss(ours[name], theirs[name], link, 1.0, at)) * len(batch)
            rows += len(batch)
        return total / rows

    def influence(self, model: PreTrainedModel) -> list[float]:
        """Block influence of every layer, averaged over the rows."""
        sums: np.ndarray | None = None
        rows = 0
        for batch in self._batches:
            with torch.inference_mode():
                states = model(**batch.inputs, output_hidden_states=True)["hidden_states"]
            values = np.array(block_influence(states, real_tokens(batch.inputs, states[0].shape[1])))
            sums = values * len(batch) if sums is None else sums + values * len(batch)
            rows += len(batch)
        return [] if sums is None else (sums / rows).tolist()


def train_alone(
    student: PreTrainedModel,
    task: Any,
    head: Head,
    processor: Any,
    data: TrainingData,
    max_length: int | None,
    training: TrainingConfig,
    steps: int,
    ctx: Context,
) -> History:
    """The control: the same student, seed and number of steps, on the task's loss alone."""

    def encode(rows: Sequence[Row]) -> Batch:
        batch: Batch = task.encode(rows, processor, head, max_length)
        return batch

    return train(
        student,
        rows=data.train,
        encode=encode,
        lengths=row_lengths(task, data.train, processor, max_length),
        objective=TaskObjective(task, head),
        evaluate=Selection(task, head, data.selection, processor, max_length) if len(data.selection) else None,
        config=training.model_copy(update={"steps": steps}),
        scratch=ctx.scratch / "control",
        seed=ctx.seed,
        device=ctx.device,
        threads=ctx.threads,
        description="control",
    )


def comparison(distilled: History, control: History) -> dict[str, Any]:
    """What distillation gave: the main selection metric with and without the teacher."""
    if distilled.best is None or control.best is None:
        return {"steps": control.steps}
    metric = next(iter(distilled.best.metrics))
    return {
        "metric": metric,
        "distilled": distilled.best.metrics,
        "control": control.best.metrics,
        "gain": distilled.best.metrics[metric] - control.best.metrics[metric],
        "steps": control.steps,
        "seconds": control.seconds,
    }
