"""Train a model on labelled rows; the weights that score best on the selection rows are kept.

A trained head is kept; a base model gets one for the labels of the data, and so does any model with
``head: new``. Where the data and a trained head have not one label in common, the data is another task's, and
the head is a new one, which is said. Where they share some, the others are refused: one typing error among
them must not cost what the head has learned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from compress import log, processes
from compress.artifacts import artifact
from compress.artifacts.artifact import Artifact
from compress.errors import DataError, ModelError, RecipeError
from compress.model import checkpoint, limit, padding
from compress.model.embeddings import input_embeddings
from compress.model.head import replace_head
from compress.stage import Context, Role
from compress.tasks import Batch, Head, Row, Task
from compress.tasks import _heads as heads
from compress.training import backbone
from compress.training.adversarial import AdversarialObjective
from compress.training.consistency import ConsistencyObjective
from compress.training.examples import examples
from compress.training.listwise import ListwiseObjective
from compress.training.loop import TrainingConfig, train
from compress.training.matryoshka import Lengths, MatryoshkaObjective, check_lengths
from compress.training.objectives import Objective, TaskObjective
from compress.training.selection import Selection, row_lengths, truncated_share

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.data import TrainingData

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 5
TOOLS = ("torch", "transformers", "accelerate")
DATA: frozenset[Role] = frozenset({"train", "selection"})
NEEDS_DATA = True
# The same bytes on a CPU with the same threads; CUDA's sums are not ordered.
DETERMINISTIC = False
ANCESTORS = False
MAKES_HEAD = True


class Config(TrainingConfig):
    """How to train; see ``compress.training.loop.TrainingConfig`` for the rest.

    Attributes:
        head: ``auto`` keeps a trained one, ``new`` trains one for the labels of the data.
        rdrop: how much two passes through different dropout masks are held together; see
            ``compress.training.consistency``. 0 for not at all; twice the time.
        adversarial: how far a row's embeddings are pushed to where its loss is higher, as a share of their
            length; see ``compress.training.adversarial``. 0 for not at all; a little over twice the time.
        freeze_backbone: train the head alone and leave the base model as it is (a linear probe): a quarter of
            the time, for few rows or a base that is good as it is.
        matryoshka: lengths at which the beginning of a vector is to be good by itself, of models that make
            vectors; see ``compress.training.matryoshka``. ``truncate-vectors`` then cuts there.
        listwise: learn the order of a query's documents from all of them at once, of models that rank; see
            ``compress.training.listwise``. A batch then holds whole queries.
    """

    head: Literal["auto", "new"] = "auto"
    rdrop: float = Field(default=0.0, ge=0, le=1000)
    adversarial: float = Field(default=0.0, ge=0, le=1000)
    freeze_backbone: bool = False
    matryoshka: Lengths = ()
    listwise: bool = False

    @model_validator(mode="after")
    def _one_loss(self) -> Config:
        losses = {"matryoshka": self.matryoshka, "listwise": self.listwise, "rdrop": self.rdrop}
        chosen = [name for name, value in losses.items() if value]
        if len(chosen) > 1:
            raise ValueError(f"give either {' or '.join(chosen)}, not both")
        return self


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing besides source and data."""
    return ()


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Train and save.

    Raises:
        DataError: labels that no head fits.
        TrainingError: the loss is no number, or a checkpoint cannot be written.
    """
    if source is None or ctx.data is None:
        raise DataError("finetune needs a model and data with labels")
    task = ctx.task
    model = checkpoint.load(source.path, task)
    head, data, reused = choose_head(model, source, config, ctx)
    processor = task.load_processor(source.path)
    max_length = limit.read_derived(source.path).tokens
    pads = padding.in_training(source.path, ctx)

    def encode(rows: Sequence[Row]) -> Batch:
        batch: Batch = task.encode(rows, processor, head, max_length)
        return batch

    rows = examples(task, data.train, processor, max_length)
    lists = task.groups(rows) if config.listwise and len(rows) else None
    if lists is not None and not pads:
        raise RecipeError(
            "listwise needs the rows of a query in one batch, and padding moves the answers of this model: "
            "rows of several lengths may share none; leave it out"
        )
    if lists is not None:
        log.info(
            "listwise: scores order the documents of a query, and mean nothing without those beside them"
        )
    with backbone.frozen(model, config.freeze_backbone):
        history = train(
            model,
            rows=rows,
            encode=encode,
            lengths=row_lengths(task, rows, processor, max_length),
            objective=objective(model, task, head, config, lists),
            evaluate=Selection(task, head, data.selection, processor, max_length, pads)
            if len(data.selection)
            else None,
            config=config,
            scratch=ctx.scratch,
            seed=ctx.seed,
            device=ctx.device,
            threads=ctx.threads,
            description="finetune",
            pads=pads,
            lists=lists,
        )
    ctx.record("training", history.facts())
    ctx.record("head", "kept" if reused else "replaced")
    ctx.record("truncated_share", truncated_share(task, rows, processor, max_length))
    if processes.is_main():
        checkpoint.save(model, ctx.out, source=source.path)


def objective(
    model: PreTrainedModel, task: Task, head: Head, config: Config, lists: np.ndarray | None = None
) -> Objective:
    """What training minimizes.

    Args:
        model: to train.
        task: the task module.
        head: what the model predicts.
        config: options.
        lists: query of each training row; None where rows are scored by themselves.

    Raises:
        ModelError: the model has not what an option needs (dropout, input embeddings).
        RecipeError: it makes no vectors of the lengths that were asked for, or ranks nothing.
    """
    check_lengths(config.matryoshka, task.head_of(model.config.to_dict()))
    chosen: Objective = TaskObjective(task, head)
    if config.matryoshka:
        chosen = MatryoshkaObjective(task, head, config.matryoshka)
    elif config.listwise:
        chosen = ListwiseObjective(task, head, np.zeros(0, dtype=np.int64) if lists is None else lists)
    elif config.rdrop:
        chosen = ConsistencyObjective(model, task, head, config.rdrop)
    if config.adversarial:
        chosen = AdversarialObjective(chosen, input_embeddings(model, "adversarial"), config.adversarial)
    return chosen


def choose_head(
    model: PreTrainedModel, source: Artifact, config: Config, ctx: Context
) -> tuple[Head, TrainingData, bool]:
    """The head to train, the data aligned with it, and whether it is the source's own.

    Args:
        model: its head is replaced in place where a new one is trained.
        source: the artifact that the model is of.
        config: of the stage.
        ctx: of the stage; its data decides.

    Raises:
        DataError: labels that the trained head does not have.
    """
    data = ctx.data
    if data is None:
        raise DataError("finetune needs data with labels")
    source_head: Head = ctx.task.head_of(model.config.to_dict())
    untrained = checkpoint.has_fresh_head(source)
    if config.head == "auto" and not (untrained and source_head != data.infer_head(ctx.task)):
        checkpoint.require_order(source)
        try:
            head = _renewed(source_head, data, ctx.task)
            aligned = data.for_head(ctx.task, head)
            if head.thresholds != source_head.thresholds:
                ctx.task.configure(model.config, head)
            return head, aligned, True
        except DataError as cause:
            if not ctx.task.NEW_HEADS:
                raise
            if not _apart(source_head, data.infer_head(ctx.task)):
                raise DataError(
                    f"{str(cause).removesuffix('.')}; or train a new head for the labels of the data with "
                    "--set head=new"
                ) from cause
    if not ctx.task.NEW_HEADS:
        raise ModelError(
            f"{ctx.task.NAME} keeps the trained outputs of its model, so that there is no new head to train: "
            "leave head=new out, and take a model that has them"
        )
    new_head = data.infer_head(ctx.task)
    if config.head == "auto" and not untrained:
        log.warning(
            "the model answers %s, of which the data has none (%s): its head is replaced by a new one, and "
            "what that had learned is gone",
            heads.listed(source_head.labels),
            heads.listed(new_head.labels),
        )
    replace_head(model, ctx.task, new_head, ctx.seed)
    return new_head, data.for_head(ctx.task, new_head), False


def _renewed(head: Head, data: TrainingData, task: Task) -> Head:
    """A trained head with the thresholds that the data asks for: fitted ones are of the weights before."""
    if head.thresholds is None and head.answer != "text":
        return head
    return replace(head, thresholds=data.infer_head(task).thresholds)


def _apart(trained: Head, named: Head) -> bool:
    """Whether two heads name labels of which none could be meant to be one of the other's."""
    if heads.unnamed(trained):
        return False
    names, others = ({name.strip().casefold() for name in head.labels} for head in (trained, named))
    return bool(names and others) and not names & others
