"""A recipe's stages as checked links: every name exists, every option fits, every kind follows.

A chain, unless a stage says ``from: LABEL``: then it starts a branch at an earlier one.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from compress import catalog
from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact, Kind
from compress.data import layout
from compress.errors import DataError, RecipeError
from compress.model import hub
from compress.reading import files
from compress.recipe import DataConfig, Recipe, StageEntry, validate
from compress.stage import Stage, StageConfig

LOAD = "load"
_MADE_BY: dict[Kind, str] = {
    "torch": "'paredown finetune'",
    "onnx": "'paredown export'",
    "tensorrt": "'paredown build'",
}


@dataclass(frozen=True)
class Start:
    """A sealed artifact that a run starts from, as it is.

    Attributes:
        label: what the run calls it: of the stage ``load`` where the recipe writes one, else the name of
            the stage that made it.
        artifact: open, every byte checked.
    """

    label: str
    artifact: Artifact


@dataclass(frozen=True)
class Link:
    """One stage of a checked chain.

    Attributes:
        label: unique in the run: what the recipe calls it, or the stage's name, with ``-2`` and so on
            where it recurs.
        source: label of what it takes: an earlier link, or the artifact that the run starts from; None
            for a stage that starts the chain.
        name: in the catalog.
        module: satisfies ``compress.stage.Stage``.
        config: validated.
    """

    label: str
    source: str | None
    name: str
    module: Stage
    config: StageConfig


def chain(recipe: Recipe) -> tuple[list[Link], Start | None]:
    """The checked chain of a recipe and, when its model is a sealed artifact, where it starts.

    A written stage ``load`` is not run for a sealed artifact, which is in paredown's form already: the chain
    starts from the artifact itself, under the label of that stage.

    Raises:
        RecipeError: options that do not fit, or stages that do not chain.
        UnknownName: a stage that does not exist.
    """
    start, entries = _begin(recipe)
    links: list[Link] = []
    kinds: dict[str, Kind] = {start.label: start.artifact.kind} if start else {}
    last: str | None = start.label if start else None
    for position, entry in enumerate(entries):
        source = entry.source or last
        if source is not None and source not in kinds:
            raise RecipeError(
                f"stage '{entry.name}' starts from '{source}', and no stage before it is called that: "
                f"{', '.join(kinds) or 'it is the first'}"
            )
        kind = kinds[source] if source is not None else None
        module = catalog.stage(entry.name)
        config = validate(module.Config, entry.options, f"stage '{entry.name}'")
        if module.CONSUMES and kind not in module.CONSUMES:
            _refuse_given(recipe, start, entry.name, module.CONSUMES, links)
            before = source if links else "the model"
            raise RecipeError(
                f"stage '{entry.name}' takes {' or '.join(sorted(module.CONSUMES))} and {before} gives "
                f"{kind or 'nothing'}: change the order of the stages"
            )
        if not module.CONSUMES and position > 0:
            raise RecipeError(f"stage '{entry.name}' starts a chain: it can only stand first")
        if module.NEEDS_DATA:
            _require_data(entry.name, module, recipe)
        label = entry.label or _free(entry.name, kinds)
        if label == LOAD != entry.name:
            raise RecipeError(f"stage '{entry.name}' cannot be called '{LOAD}': that is where a run starts")
        if label in kinds:
            raise RecipeError(f"two stages are called '{label}': give one of them another label with 'as'")
        links.append(Link(label=label, source=source, name=entry.name, module=module, config=config))
        made = module.PRODUCES or kind
        if made is None:
            raise RecipeError(f"stage '{entry.name}' needs a model before it: it can not stand first")
        kinds[label] = made
        last = label
    return links, start


def _require_data(stage: str, module: Stage, recipe: Recipe) -> None:
    """Refuse a stage that cannot do without data; a model's folder that is not there is said before that.

    Raises:
        ModelError: there is no such folder, and no hub id is written like that.
        RecipeError: there is no data.
        DataError: there are no rows of the kind that the stage needs.
    """
    absent = ""
    if recipe.model is not None and hub.local(recipe.model) is None:
        absent = f" (and there is no folder '{files.shown(recipe.model)}': it would be taken for a hub id)"
    if recipe.data is None:
        raise RecipeError(f"stage '{stage}' needs data: give --data DIR or 'data:' in the recipe{absent}")
    _require_rows(stage, module, recipe.data)


def _require_rows(stage: str, module: Stage, config: DataConfig) -> None:
    """Refuse data that has no rows of the kind that a stage cannot do without, before any work.

    Raises:
        DataError: there are only rows of other kinds, such as evaluation rows alone.
    """
    laid = layout.lay_out(config)
    roles = module.DATA
    if roles & {"train", "calibration"}:
        sides = {"train"} | (roles & {"unlabeled"}) | ({"unlabeled"} if "calibration" in roles else set())
    else:
        sides = {"train"} | (roles & {"selection"})
    if sides.isdisjoint(laid.splits):
        listing = ", ".join(f"'{split}' as {side}" for side, split in laid.splits.items())
        raise DataError(
            f"stage '{stage}' needs training rows, and the data has none ({listing}): give data with a split "
            "'train' (or name one in a recipe: data.train)"
        )


def _refuse_given(
    recipe: Recipe, start: Start | None, stage: str, consumes: frozenset[Kind], links: list[Link]
) -> None:
    """Where the first stage of a recipe does not fit, it is the model that does not: say what it is.

    Raises:
        RecipeError: nothing that the recipe names stands between the model and the stage.
    """
    if recipe.model is None or len(links) != (0 if start is not None else 1):
        return
    kinds = " or ".join(sorted(consumes))
    makers = " or ".join(_MADE_BY[kind] for kind in sorted(consumes))
    if start is not None:
        description = f"is an artifact of the kind {start.artifact.kind}"
    elif files.exists(files.located(recipe.model)):
        description = "is no sealed artifact of paredown"
    else:
        description = "does not exist"
    raise RecipeError(
        f"{recipe.model} {description}, and stage '{stage}' takes an artifact of the kind {kinds}: check the "
        f"path, or make one with {makers}"
    )


def _free(name: str, labels: Container[str]) -> str:
    """The name, numbered from 2 where it is taken."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(label for label in numbered if label not in labels)


def _begin(recipe: Recipe) -> tuple[Start | None, list[StageEntry]]:
    """Where a recipe starts: a sealed artifact and the stages after it, or the stages with ``load`` in front.

    Raises:
        RecipeError: no model, two, or options of ``load`` for what is sealed already.
    """
    entries = list(recipe.stages)
    first = entries[0] if entries and entries[0].name == LOAD else None
    following = entries[1:] if first else entries
    options = dict(first.options) if first else {}
    if recipe.model is not None:
        if "model" in options and options["model"] != recipe.model:
            raise RecipeError("the model is named twice: in 'model:' and in the stage 'load'")
        options["model"] = recipe.model
    model = options.get("model")
    if not model and not options.get("architecture"):
        raise RecipeError(
            "the recipe names no model: give --model (a hub id or a folder), or 'load: {architecture: ...}'"
        )
    label = first.label if first else None
    if not isinstance(model, str) or not artifacts.is_sealed(Path(model)):
        return None, [StageEntry(name=LOAD, options=options, label=label), *following]
    _refuse_options(model, options)
    artifact = Artifact.open(Path(model))
    return Start(label or (LOAD if first else artifact.manifest.stage), artifact), following


def _refuse_options(model: str, options: Mapping[str, Any]) -> None:
    """Refuse options of ``load`` that would change a sealed artifact, which is taken as it is.

    Raises:
        RecipeError: there are some.
    """
    fields = catalog.stage(LOAD).Config.model_fields
    extra = [
        name
        for name, value in options.items()
        if name != "model" and (name not in fields or value != fields[name].default)
    ]
    if extra:
        raise RecipeError(
            f"stage '{LOAD}' asks for {', '.join(extra)}, and {model} is a sealed artifact, which is taken "
            f"as it is: leave {'it' if len(extra) == 1 else 'them'} out, or name the model folder or hub id "
            "that the artifact was made from"
        )


def infer_task(recipe: Recipe, start: Start | None, links: list[Link]) -> str:
    """The task's name: the recipe's, the artifact's, or what the model's head says.

    Raises:
        RecipeError: none of them says.
    """
    if start is not None:
        artifact = start.artifact
        if recipe.task is not None and catalog.canonical(recipe.task) != artifact.task:
            raise RecipeError(
                f"the recipe says task '{recipe.task}'; {artifact.path} is for '{artifact.task}'"
            )
        return artifact.task
    if recipe.task is not None:
        catalog.path("task", recipe.task)
        return catalog.canonical(recipe.task)
    inferred = links[0].module.infer_task(links[0].config, recipe.data)
    catalog.path("task", inferred)
    return catalog.canonical(inferred)


def check_head(links: Sequence[Link], start: Start | None, task: str, *, alone: bool = True) -> None:
    """Refuse a model without a trained head where no stage trains one, before anything runs.

    Args:
        links: of the chain.
        start: the sealed artifact that it starts from; it was loaded before.
        task: name in the catalog.
        alone: whether a model that no stage takes is refused as well, since it is measured or predicts.

    Raises:
        ModelError: the answers would be chance; the message says what the model is and how to make a head.
    """
    if start is not None or not links or links[0].name != LOAD:
        return
    first = links[0]
    takers = [link for link in links[1:] if link.source == first.label]
    if (alone and not takers) or any(not link.module.MAKES_HEAD for link in takers):
        first.module.require_head(first.config, catalog.task(task))
