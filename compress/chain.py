"""A recipe's stages as checked links: every name exists, every option fits, every kind follows.

A chain, unless a stage says ``from: LABEL``: then it starts a branch at an earlier one.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType

from compress import artifact as artifacts
from compress import catalog
from compress.artifact import Artifact, Kind
from compress.errors import RecipeError
from compress.recipe import Recipe, StageEntry, validate
from compress.stage import StageConfig

LOAD = "load"


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
    module: ModuleType
    config: StageConfig


def chain(recipe: Recipe) -> tuple[list[Link], Artifact | None]:
    """The checked chain of a recipe and, when its model is a sealed artifact, where it starts.

    Raises:
        RecipeError: options that do not fit, or stages that do not chain.
        UnknownName: a stage that does not exist.
    """
    start: Artifact | None = None
    entries: list[StageEntry] = list(recipe.stages)
    if recipe.model is not None and artifacts.is_sealed(Path(recipe.model)):
        start = Artifact.open(Path(recipe.model))
        if entries and entries[0].name == LOAD:
            raise RecipeError(f"{recipe.model} is a sealed artifact already: leave out the stage 'load'")
    else:
        entries = _with_load(recipe, entries)
    links: list[Link] = []
    kinds: dict[str, Kind] = {start.manifest.stage: start.kind} if start else {}
    last: str | None = start.manifest.stage if start else None
    for position, entry in enumerate(entries):
        source = entry.source or last
        if source is not None and source not in kinds:
            raise RecipeError(
                f"stage '{entry.name}' starts from '{source}', and no stage before it is called that: "
                f"{', '.join(kinds) or 'it is the first'}"
            )
        kind = kinds[source] if source is not None else None
        module = catalog.load("stage", entry.name)
        config = validate(module.Config, entry.options, f"stage '{entry.name}'")
        if module.CONSUMES and kind not in module.CONSUMES:
            before = source if links else "the model"
            raise RecipeError(
                f"stage '{entry.name}' takes {' or '.join(sorted(module.CONSUMES))} and {before} gives "
                f"{kind or 'nothing'}: change the order of the stages"
            )
        if not module.CONSUMES and position > 0:
            raise RecipeError(f"stage '{entry.name}' starts a chain: it can only stand first")
        if module.NEEDS_DATA and recipe.data is None:
            raise RecipeError(f"stage '{entry.name}' needs data: give --data DIR or 'data:' in the recipe")
        label = entry.label or _free(entry.name, kinds)
        if label in kinds:
            raise RecipeError(f"two stages are called '{label}': give one of them another label with 'as'")
        links.append(Link(label=label, source=source, name=entry.name, module=module, config=config))
        kinds[label] = module.PRODUCES
        last = label
    return links, start


def _free(name: str, taken: Container[str]) -> str:
    """The name, numbered from 2 where it is taken."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(label for label in numbered if label not in taken)


def _with_load(recipe: Recipe, entries: list[StageEntry]) -> list[StageEntry]:
    """Put ``load`` in front where it is not there, and the recipe's model into it."""
    first = entries[0] if entries and entries[0].name == LOAD else None
    rest = entries[1:] if first else entries
    options = dict(first.options) if first else {}
    if recipe.model is not None:
        if "model" in options and options["model"] != recipe.model:
            raise RecipeError("the model is named twice: in 'model:' and in the stage 'load'")
        options["model"] = recipe.model
    if not options.get("model") and not options.get("architecture"):
        raise RecipeError(
            "the recipe names no model: give --model (a hub id or a folder), or 'load: {architecture: ...}'"
        )
    return [StageEntry(name=LOAD, options=options, label=first.label if first else None), *rest]


def infer_task(recipe: Recipe, start: Artifact | None, links: list[Link]) -> str:
    """The task's name: the recipe's, the artifact's, or what the model's head says.

    Raises:
        RecipeError: none of them says.
    """
    if start is not None:
        if recipe.task is not None and catalog.canonical(recipe.task) != start.task:
            raise RecipeError(f"the recipe says task '{recipe.task}'; {start.path} is for '{start.task}'")
        return start.task
    if recipe.task is not None:
        catalog.path("task", recipe.task)
        return catalog.canonical(recipe.task)
    inferred = links[0].module.infer_task(links[0].config, recipe.data)
    catalog.path("task", inferred)
    return catalog.canonical(inferred)


def check_head(links: Sequence[Link], start: Artifact | None, task: str, *, alone: bool = True) -> None:
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
        first.module.require_head(first.config, catalog.load("task", task))
