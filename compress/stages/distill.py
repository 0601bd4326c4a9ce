"""Train a smaller model to do what its teacher does.

The student is the teacher with fewer layers (which ones is searched or follows a rule), or a model
that was given. With ``control`` the same student is also trained without the teacher, for as many
steps, so that the report can say what distillation gave.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from compress import log, processes
from compress.artifacts import artifact
from compress.artifacts.artifact import Artifact
from compress.distillation import origins, reading
from compress.distillation.distill import DistillationConfig, distill
from compress.distillation.layer_choice import Calibration, choose_layers
from compress.distillation.student import Rule, cut, depth_of, uniform_map
from compress.errors import DataError, ModelError, RecipeError
from compress.model import checkpoint, length, padding, pretrained, sample
from compress.model import limit as limits
from compress.pipeline.places import Teacher
from compress.stage import Context, Role
from compress.tasks import Batch, Head, Row, Task
from compress.training.examples import examples
from compress.training.history import History
from compress.training.loop import TrainingConfig, train
from compress.training.objectives import TaskObjective
from compress.training.selection import Selection, row_lengths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.data import TrainingData

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 5
TOOLS = ("torch", "transformers", "accelerate", "optimum")
DATA: frozenset[Role] = frozenset({"train", "selection", "calibration", "unlabeled"})
NEEDS_DATA = True
# The same bytes on a CPU with the same threads; CUDA's sums are not ordered.
DETERMINISTIC = False
ANCESTORS = True
MAKES_HEAD = False

Count = Annotated[int, Field(ge=1, le=10_000)]
Index = Annotated[int, Field(ge=0, le=10_000)]


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

    layers: Count | tuple[Index, ...] | None = None
    rule: Rule = "auto"
    student: Path | None = None
    teacher: Teacher = "source"
    control: bool = False

    @model_validator(mode="after")
    def _one_student(self) -> Config:
        if self.student is not None and self.layers is not None:
            raise ValueError("give either layers (cut the teacher) or student (a model of its own), not both")
        return self


def reads(config: Config) -> tuple[Path, ...]:
    """The folders of a given student and a given teacher.

    Raises:
        RecipeError: one of them is not there.
    """
    folders = {"student": config.student} if config.student is not None else {}
    if config.teacher not in {"source", "original"}:
        folders["teacher"] = Path(config.teacher)
    for role, folder in folders.items():
        if not folder.is_dir():
            also = ", 'source' or 'original'" if role == "teacher" else ""
            raise RecipeError(f"distill: there is no {role} at {folder}; allowed are a model folder{also}")
    return tuple(folders.values())


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
    teacher = checkpoint.load_teacher(folder, task)
    head: Head = task.head_of(teacher.config.to_dict())
    data = ctx.data.for_head(task, head)
    processor = task.load_processor(folder)
    if config.teacher == "original" and len(data.calibration):
        reading.check(
            task,
            head,
            data.calibration,
            task.load_processor(source.path),
            processor,
            "distill: the original reads rows otherwise than the model that this stage was given (after "
            "trimming its vocabulary, say), and a student of it would undo that: use 'teacher: source'",
        )
    limit = limits.read_derived(folder)
    student_pads = pads = padding.of_folder(folder, teacher, processor, limit.tokens, ctx, "teacher")
    origin = config.student or folder
    layer_map: tuple[int, ...] | None = None
    if config.student is None:
        place = processes.team(ctx.device).device
        calibration = Calibration(task, head, processor, data.calibration, limit.tokens, place, pads)
        choice = choose_layers(teacher, config.layers, config.rule, calibration)
        for name, value in choice.facts.items():
            ctx.record(name, value)
        student, layer_map = cut(teacher, choice.layers), tuple(layer + 1 for layer in choice.layers)
    else:
        student = given_student(config.student, head, data, processor, ctx)
        if config.hidden_weight or config.relation_weight:
            layer_map = uniform_map(depth_of(student), depth_of(teacher))
        limit = length.within(limit, student.config)
        student_pads = padding.of_folder(config.student, student, processor, limit.tokens, ctx, "student")
        pads = pads and student_pads
    if (
        pads
        and _hides_positions(task, processor, data.calibration)
        and (config.hidden_weight or config.relation_weight)
    ):
        pads = False
        ctx.record("batches", "of one length")
        log.warning(
            "Inner states are held together position by position, and masks of sounds count samples: rows of "
            "one length share a batch (hidden_weight: 0 and relation_weight: 0 lift that)."
        )
    control = copy.deepcopy(student) if config.control else None
    training = TrainingConfig(**config.model_dump(include=set(TrainingConfig.model_fields)))
    history = distill(
        student,
        teacher,
        task=task,
        head=head,
        processor=processor,
        data=data,
        max_length=limit.tokens,
        training=training,
        loss=DistillationConfig(**config.model_dump(include=set(DistillationConfig.model_fields))),
        layer_map=layer_map,
        scratch=ctx.scratch,
        seed=ctx.seed,
        device=ctx.device,
        threads=ctx.threads,
        description="distill",
        pads=pads,
    )
    ctx.record("training", history.facts())
    if layer_map is not None:
        ctx.record("layers" if config.student is None else "layer_map", list(layer_map))
    if control is not None:
        plain = train_alone(
            control, task, head, processor, data, limit.tokens, training, history.steps, ctx, pads
        )
        ctx.record("control", comparison(history, plain))
    if processes.is_main():
        checkpoint.save(student, ctx.out, source=origin)
        limits.write(ctx.out, limit, padding=student_pads)


def teacher_folder(source: Artifact, config: Config, ancestors: Sequence[Artifact]) -> Path:
    """The folder of the teacher that a config means.

    Raises:
        RecipeError: this run has no original.
    """
    chain = [member for member in (*ancestors, source) if member.kind == "torch"]
    teacher = origins.teacher_artifact(config.teacher, chain)
    return teacher.path if teacher is not None else Path(config.teacher)


def given_student(
    folder: Path, head: Head, data: TrainingData, processor: Any, ctx: Context
) -> PreTrainedModel:
    """A student out of a folder, with the teacher's head; refused where it reads rows differently.

    Raises:
        ModelError: it is no model of the task, or its processor encodes rows in another way.
    """
    student = pretrained.load(folder, ctx.task, head, ctx.seed).model
    theirs = ctx.task.head_of(student.config.to_dict())
    if theirs != head:
        raise ModelError(
            f"the student at {folder} predicts {list(theirs.labels)} and the teacher {list(head.labels)}: "
            "give a student of the same labels in the same order, or a base model without a head"
        )
    reading.check(
        ctx.task,
        head,
        data.calibration,
        ctx.task.load_processor(folder),
        processor,
        f"the student at {folder} and the teacher turn the same rows into different inputs "
        "(another tokenizer or image size): distillation needs a student that reads rows like its teacher",
    )
    return student


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
    pads: bool,
) -> History:
    """The control: the same student, seed and number of steps, on the task's loss alone."""

    def encode(rows: Sequence[Row]) -> Batch:
        batch: Batch = task.encode(rows, processor, head, max_length)
        return batch

    rows = examples(task, data.train, processor, max_length)
    return train(
        student,
        rows=rows,
        encode=encode,
        lengths=row_lengths(task, rows, processor, max_length),
        objective=TaskObjective(task, head),
        evaluate=Selection(task, head, data.selection, processor, max_length, pads)
        if len(data.selection)
        else None,
        config=training.model_copy(update={"steps": steps}),
        scratch=ctx.scratch / "control",
        seed=ctx.seed,
        device=ctx.device,
        threads=ctx.threads,
        description="control",
        pads=pads,
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


def _hides_positions(task: Task, processor: Any, rows: Sequence[Row]) -> bool:
    """Whether padding of a row cannot be told among its inner states: the model has fewer than its inputs."""
    free = task.extent(processor) is None and not sample.has_texts(task)
    return free and task.lengths(list(rows[:1]), processor) is not None
