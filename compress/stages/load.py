"""Bring a model in: a hub id, a folder, an adapter on its base, or fresh weights of an architecture.

Whatever comes in, what goes out is one form: FP32 safetensors, a full configuration, the processor, and the
token limit that later stages keep to. Nothing of the source is ever executed: pickles are refused and
Python files ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from pydantic import field_validator, model_validator

from compress import catalog, log
from compress.artifacts import artifact
from compress.artifacts.artifact import Artifact
from compress.data import columns, layout
from compress.errors import DataError, ModelError
from compress.label_names import Lender
from compress.model import (
    adapter_labels,
    adapters,
    architecture,
    checkpoint,
    hub,
    identity,
    label_order,
    length,
    padding,
    pretrained,
    sample,
    trial,
    vocabulary,
)
from compress.model import limit as limits
from compress.model.head import replace_head
from compress.model.hub import Snapshot
from compress.model.limit import Limit
from compress.pipeline.places import Place
from compress.recipe import DataConfig
from compress.stage import Context, Role, StageConfig
from compress.tasks import Head, Row, Task
from compress.tasks import _embedding as embedding
from compress.tasks import _heads as heads
from compress.tasks import _setfit as setfit

CONSUMES: frozenset[artifact.Kind] = frozenset()
PRODUCES: artifact.Kind = "torch"
VERSION = 6
TOOLS = ("torch", "transformers", "safetensors", "peft")
DATA: frozenset[Role] = frozenset({"train"})
NEEDS_DATA = False
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_CHECK_ROWS = 16
_ORDER_ROWS = 256


_LAYERS, _LARGEST = 1000, 10**7  # the largest vocabularies and position tables have some millions of rows
_COUNTS_LAYERS = re.compile("layers|depth|blocks")


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """Every number of an architecture with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, place)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place, value


class Config(StageConfig):
    """What to load.

    Attributes:
        model: a hub id, a model folder, or an adapter folder (its base is then what it names).
        revision: branch, tag or commit of a hub id.
        adapter: folder or hub id of an adapter to merge into ``model``.
        architecture: a transformers configuration with ``model_type``; builds fresh seeded weights.
        ignore_remote_code: load a model that brings Python code of its own with transformers' own
            class for its type.
        trust_remote_code: always off; there to say so.
        untrained: take a head that was never trained, whose answers are chance: to measure the speed of an
            architecture alone.
        pooling: how the states of a text become one vector, of an encoder whose folder does not say it:
            ``mean``, ``cls``, ``max``, ``mean_sqrt_len_tokens``, ``weightedmean``, ``lasttoken``, or several.
        normalize: whether such vectors get the length 1; they do when nothing is said.
        prompts: what is put before a text, by its role (``text``, ``text_pair``): the name of a prompt of the
            folder, or the text itself where the folder names none.
        labels: candidate labels of a model for zero-shot-classification; those of the data when left out.
        template: of the sentence that asks such a model about a label, with {} where that stands; the
            model's own, or "This example is {}.", when left out.
    """

    model: Place | None = None
    revision: str | None = None
    adapter: Place | None = None
    architecture: dict[str, Any] | None = None
    ignore_remote_code: bool = False
    trust_remote_code: bool = False
    untrained: bool = False
    pooling: embedding.Mode | tuple[embedding.Mode, ...] | None = None
    normalize: bool | None = None
    prompts: dict[Literal["text", "text_pair"], str] | None = None
    labels: tuple[str, ...] | None = None
    template: str | None = None

    @field_validator("trust_remote_code")
    @classmethod
    def _never(cls, value: bool) -> bool:
        if value:
            raise ValueError(
                "paredown never runs a model's own code, which an artifact could not carry along: use a "
                "model that transformers knows (ignore_remote_code: true takes transformers' own class)"
            )
        return value

    @field_validator("architecture")
    @classmethod
    def _buildable(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        for place, number in _numbers(value):
            most = _LAYERS if _COUNTS_LAYERS.search(place) else _LARGEST
            if not -most <= number <= most:
                raise ValueError(f"'{place}' is {number}, and {most:,} is the most that is built")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Config:
        if (self.model is None) == (self.architecture is None):
            raise ValueError("give either a model (hub id or folder) or an architecture, not both or neither")
        if self.architecture is not None and (self.revision or self.adapter):
            raise ValueError("a revision or an adapter belongs to a model, not to an architecture")
        return self


@dataclass(frozen=True)
class Sources:
    """The folders that a configuration means.

    Attributes:
        base: the model's.
        adapter: the adapter's, or None.
    """

    base: Snapshot
    adapter: Snapshot | None


def find(config: Config) -> Sources:
    """The folders that a configuration means; hub ids are downloaded where they are not cached.

    Raises:
        ModelError: one of them is not there.
    """
    if config.model is None:
        raise ModelError("an architecture has no folder")
    first = hub.resolve(config.model, config.revision)
    if config.adapter is not None:
        return Sources(base=first, adapter=hub.resolve(config.adapter))
    if not adapters.is_adapter(first.folder):
        return Sources(base=first, adapter=None)
    return Sources(base=adapters.find_base(adapters.read(first.folder)), adapter=first)


def infer_task(config: Config, rows: DataConfig | None = None) -> str:
    """The task of the model that a configuration means; without a head, the one that the data's columns fit.

    Args:
        config: of this stage.
        rows: where the data is, if there is any.

    Raises:
        ModelError: neither says.
    """
    if config.architecture is not None:
        content: Mapping[str, Any] = config.architecture
        reason = "an architecture with fresh weights does not say its task: give 'task:' (or --task)"
    else:
        sources = find(config)
        named = adapters.read(sources.adapter.folder).task if sources.adapter is not None else None
        if named is not None:
            return named
        content = architecture.read_config(sources.base.folder)
        if architecture.marked_task(content) or not architecture.is_headless(content):
            return architecture.infer_task(sources.base.folder)
        reason = architecture.no_head(sources.base.folder, content)
    if rows is None:
        raise ModelError(reason)
    fitting = _fitting_tasks(architecture.parse_config(content, "the model"), rows)
    if len(fitting) != 1:
        raise ModelError(f"{reason}; the data's columns fit {' and '.join(fitting) or 'none of them'}")
    return fitting[0]


def _fitting_tasks(config: transformers.PretrainedConfig, rows: DataConfig) -> list[str]:
    """The tasks that the architecture has a class for and whose columns the training rows have."""
    laid = layout.lay_out(rows, ("train",))
    if "train" not in laid.splits:
        return []
    table = laid.source.read(laid.splits["train"])
    fitting = []
    for name in catalog.names("task"):
        task = catalog.task(name)
        if architecture.takes_any_model(task):
            continue  # rows of any task would fit it
        try:
            architecture.model_class(config, task)
            by_role = columns.find(task.COLUMNS, table.columns, rows.columns, table.name)
        except (ModelError, DataError):
            continue
        if task.NEW_HEADS and task.LABEL in by_role:
            fitting.append(name)
    return fitting


def require_head(config: Config, task: Task) -> None:
    """Refuse what has no trained head, from its files alone.

    An adapter may bring the head along: what it holds is seen when it is merged.

    Raises:
        ModelError: the answers would be chance.
    """
    if config.untrained:
        return
    if config.architecture is not None:
        raise ModelError(
            "an architecture has fresh weights, so that its answers would be chance: let 'finetune' follow "
            "'load' in the recipe (or say 'load: {untrained: true}' to measure its speed alone)"
        )
    sources = find(config)
    folder = sources.base.folder
    if sources.adapter is not None or (folder / checkpoint.SHAPES).is_file():
        return
    content = pretrained.inspect(folder, task, ignore_remote_code=config.ignore_remote_code)
    if identity.lacks_head(folder, content, task):
        raise ModelError(identity.refusal(folder, content, task))
    task.head_of(content)  # refuses names of labels that contradict each other


def reads(config: Config) -> tuple[Path, ...]:
    """The files that the result depends on: of the model's folder and, with an adapter, of both."""
    if config.architecture is not None:
        return ()
    sources = find(config)
    paths = hub.files(sources.base.folder)
    if sources.adapter is not None:
        paths += hub.files(sources.adapter.folder)
    return tuple(paths)


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Load, check, and write the model in paredown's form.

    Raises:
        ModelError: the model cannot be used as it is; the message says why and what to do.
    """
    lender: Lender | None = None
    if config.architecture is not None:
        model, fresh = _from_architecture(config.architecture, _head_options(config), ctx), True
    else:
        sources = find(config)
        folder = _processor_folder(sources)
        base = sources.base.folder
        content = pretrained.inspect(base, ctx.task, ignore_remote_code=config.ignore_remote_code)
        processor = ctx.task.load_processor(folder)  # before the weights: a missing tokenizer is said at once
        loaded = pretrained.load(
            sources.base.folder,
            ctx.task,
            _head_of_data(ctx) if identity.lacks_head(base, content, ctx.task) else None,
            ctx.seed,
            ignore_remote_code=config.ignore_remote_code,
            fields=ctx.task.fields(base, content, _head_options(config), lambda: _head_of_data(ctx)),
        )
        model, fresh = loaded.model, loaded.fresh
        if loaded.unused:
            ctx.record("unused_weights", list(loaded.unused))
        if sources.adapter is not None:
            model, fresh, lender = _merge(model, fresh, sources, folder, ctx)
        checkpoint.check_finite(model, str(sources.base.folder))
        vocabulary.fit(model, processor, str(sources.base.folder), trained=not fresh)
        trial.run(model, ctx.task, processor)
        checkpoint.save(model, ctx.out, source=embedding.encoder_folder(folder))
        _record_origin(sources, lender, ctx)
        if setfit.is_folder(base) and hasattr(model.config, embedding.CLASSIFIER):
            ctx.record("setfit", setfit.facts(model.config))
    ctx.record("head", ("untrained" if config.untrained else "new") if fresh else "trained")
    if not fresh:
        _check_order(model, ctx, borrowed=lender is not None)
    ctx.record("parameters", sum(parameter.numel() for parameter in model.parameters()))
    _limit_length(model, ctx)


def _head_options(config: Config) -> dict[str, Any]:
    """What the weights leave open: how states become vectors, what is asked of a text."""
    return config.model_dump(include={"pooling", "normalize", "prompts", "labels", "template"})


def _from_architecture(
    content: dict[str, Any], options: dict[str, Any], ctx: Context
) -> transformers.PreTrainedModel:
    config = architecture.parse_config(content, "the architecture")
    place = Path("the architecture")
    for name, value in ctx.task.fields(place, content, options, lambda: _head_of_data(ctx)).items():
        setattr(config, name, value)
    head = _head_of_data(ctx)
    if head is not None:
        ctx.task.configure(config, head)
    architecture.check_memory(config, ctx.task)
    processor = ctx.task.default_processor(config)
    model = checkpoint.initialize(config, ctx.task, ctx.seed)
    checkpoint.save(model, ctx.out, source=None)
    processor.save_pretrained(ctx.out)
    ctx.record("origin", {"model": f"fresh {type(model).__name__}, seed {ctx.seed}"})
    return model


def _head_of_data(ctx: Context) -> Head | None:
    return ctx.data.infer_head(ctx.task) if ctx.data is not None else None


def _processor_folder(sources: Sources) -> Path:
    """The adapter's folder where it brings a processor, else the base's."""
    if sources.adapter is not None:
        names = {file.name for file in checkpoint.sidecars(sources.adapter.folder)}
        if names & {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"}:
            return sources.adapter.folder
    return sources.base.folder


def _merge(
    model: transformers.PreTrainedModel, fresh: bool, sources: Sources, processor_folder: Path, ctx: Context
) -> tuple[transformers.PreTrainedModel, bool, Lender | None]:
    """The model with the adapter in it; whether its head is new; whose names its labels have."""
    snapshot = sources.adapter
    if snapshot is None:
        raise ModelError("there is no adapter to merge")
    adapter = adapters.read(snapshot.folder)
    lender: Lender | None = None
    outputs = adapters.count_labels(adapter, model.config, ctx.task)
    if outputs is not None and (fresh or outputs != model.config.num_labels):
        folders: tuple[tuple[Lender, Path], ...] = (
            ("adapter", snapshot.folder),
            ("base", sources.base.folder),
        )
        head, lender = adapter_labels.head(outputs, folders, ctx.task)
        replace_head(model, ctx.task, head, ctx.seed)
        if head.labels:
            ctx.record("labels", "unknown" if lender is None else f"of the {lender}")
            adapter_labels.say(adapter.folder, head, lender)
    inputs = _rows_to_compare(model, processor_folder, ctx)
    merged, check = adapters.merge(model, adapter, inputs, ctx.task.OUTPUTS)
    ctx.record(
        "adapter",
        {
            "name": snapshot.label,
            "method": adapter.method,
            "max_abs_difference": check.max_abs_difference,
            "limit": check.limit,
            "rows": check.rows,
        },
    )
    log.info("merged the adapter %s: outputs differ by at most %.1g", snapshot.name, check.max_abs_difference)
    return merged, fresh and outputs is None, lender


def _check_order(model: transformers.PreTrainedModel, ctx: Context, *, borrowed: bool) -> None:
    """Record whether labels that mean the head's by their order alone are in another order than the head's.

    Args:
        model: with a trained head.
        ctx: its training rows are answered.
        borrowed: whether the names of the head's labels are those of another model, so that common names
            prove nothing.
    """
    if ctx.data is None or not len(ctx.data.train):
        return
    head = ctx.task.head_of(model.config.to_dict())
    rows = list(ctx.data.train[:: max(1, len(ctx.data.train) // _ORDER_ROWS)])
    names = ctx.data.label_names
    if head.answer != "label":
        return
    cells = [row[ctx.task.LABEL] for row in rows]
    if any(isinstance(cell, list | tuple) for cell in cells):
        return  # tags and sets are said and not judged: most of them are of one kind
    positional = heads.by_position(cells, names, head)
    if not borrowed and not positional:
        return
    try:
        labels = ctx.task.align(cells, names, head)
    except DataError:
        return  # a label that the head does not know: whatever reads the labels says so
    processor = ctx.task.load_processor(ctx.out)
    limit = length.longest(model.config, processor)
    predicted = np.zeros(len(rows), dtype=np.int64)
    lengths = ctx.task.lengths(rows, processor)
    for members in padding.batches(lengths, len(rows), limit, _CHECK_ROWS, pads=False):
        batch = ctx.task.encode([rows[i] for i in members], processor, head, limit, labelled=False)
        with torch.inference_mode():
            logits = model(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()}).logits
        predicted[members] = logits.argmax(-1).numpy()
    fit = label_order.fit(predicted.tolist(), labels, len(head.labels))
    refusal = None
    if fit.wrong:
        data_names = (names or [str(i) for i in range(len(head.labels))]) if positional else head.labels
        pairs = zip(head.labels, fit.order, strict=True)
        better = ", ".join(f"{data_names[data]} = {label}" for label, data in pairs)
        refusal = (
            "the names of the model's labels, or their order alone, say which of the data's they are, and "
            "the training rows fit another order: "
            f"{100 * fit.given:.1f} % of {len(rows)} rows are right as given, {100 * fit.best:.1f} % "
            f"with {better}. Say which id is which name in a labels.json beside the data (or data.labels), "
            "or name the model's labels in id2label of its config.json"
        )
    # Whatever uses this head refuses it (``checkpoint.require_head``); a new one can still be trained.
    ctx.record(
        "label_order",
        {"rows": len(rows), "right": fit.given, "right_in_best_order": fit.best, "refusal": refusal},
    )


def _rows_to_compare(
    model: transformers.PreTrainedModel, processor_folder: Path, ctx: Context
) -> dict[str, torch.Tensor]:
    """The model's arguments for some training rows; without data, for rows of our own."""
    processor = ctx.task.load_processor(processor_folder)
    head = ctx.task.head_of(model.config.to_dict())
    rows: Sequence[Row] = sample.rows(ctx.task, _CHECK_ROWS)
    if ctx.data is not None and len(ctx.data.calibration):
        rows = list(ctx.data.calibration[:_CHECK_ROWS])
    limit = length.longest(model.config, processor)
    pieces = ctx.task.pieces(rows, processor, limit).rows
    batch = ctx.task.encode(pieces, processor, head, limit, labelled=False)
    return {name: torch.from_numpy(array) for name, array in batch.inputs.items()}


def _record_origin(sources: Sources, lender: Lender | None, ctx: Context) -> None:
    label = sources.base.label
    if sources.adapter is not None:
        label = f"{label} + {sources.adapter.label}"
    origin: dict[str, Any] = {"model": label, "model_license": hub.license_of(sources.base.folder)}
    if lender is not None:
        origin["labels"] = {"borrowed_from": lender}
    ctx.record("origin", origin)


def _limit_length(model: transformers.PreTrainedModel, ctx: Context) -> None:
    """Write down the model's own token limit and, where one was chosen, that of what is made of it."""
    config = model.config
    processor = ctx.task.load_processor(ctx.out)
    own_limit = Limit(None)
    extent, unit = ctx.task.extent(processor), ctx.task.UNIT
    if extent is not None:
        own_limit = Limit(extent, "model")
    elif hasattr(processor, "model_max_length"):
        own_limit = Limit(length.longest(config, processor), "model")
    stored = limits.read(ctx.out)
    if stored.tokens is not None and stored.tokens < (own_limit.tokens or stored.tokens + 1):
        own_limit = stored
    request = ctx.data.facts.get("max_length") if ctx.data is not None else None
    rows: Sequence[Any] = ()
    if ctx.data is not None:
        rows = ctx.data.train if len(ctx.data.train) else ctx.data.unlabeled
    if request == "data" and not rows:
        raise DataError(
            "data.max_length: data takes the limit from the training rows, and there are none: give a "
            "number, or leave it out for the model's own limit"
        )
    lengths = ctx.task.lengths(rows, processor) if rows else None
    chosen = length.choose(request, lengths, own_limit, unit)
    limits.write(ctx.out, own_limit, chosen, padding=padding.may_pad(model, processor, own_limit.tokens, ctx))
    ctx.record("max_length", chosen.tokens)
    if lengths is None:
        return
    # A row that is read in pieces is cut only where a piece is.
    pieces = ctx.task.pieces(rows, processor, chosen.tokens).rows
    lengths = lengths if pieces is rows else ctx.task.lengths(pieces, processor)
    if lengths is None:
        return
    share = 0.0 if chosen.tokens is None else float((lengths > chosen.tokens).mean())
    ctx.record("truncated_share", share)
    if chosen.tokens is not None and (share or chosen != own_limit):
        noun = "texts" if sample.has_texts(ctx.task) else "rows"
        message = "%s are cut after %d %s (%s): %.2f %% of %d training rows"
        log.info(message, noun, chosen.tokens, unit, chosen, 100 * share, len(lengths))
