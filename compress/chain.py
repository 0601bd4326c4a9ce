"""A recipe's stages as a checked chain: every name exists, every option fits, every kind follows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from compress import artifact as artifacts
from compress import catalog
from compress.artifact import Artifact, Kind
from compress.errors import RecipeError
from compress.recipe import Named, NamedEntry, Recipe, validate
from compress.stage import StageConfig

LOAD = "load"


@dataclass(frozen=True)
class Link:
    """One stage of a checked chain.

    Attributes:
        label: unique in the run: the stage's name, with ``-2`` and so on where it recurs.
        name: in the catalog.
        module: satisfies ``compress.stage.Stage``.
        config: validated.
    """

    label: str
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
    entries: list[NamedEntry] = list(recipe.stages)
    if recipe.model is not None and artifacts.is_sealed(Path(recipe.model)):
        start = Artifact.open(Path(recipe.model))
        if entries and entries[0].name == LOAD:
            raise RecipeError(f"{recipe.model} is a sealed artifact already: leave out the stage 'load'")
    else:
        entries = _with_load(recipe, entries)
    links: list[Link] = []
    kind: Kind | None = start.kind if start else None
    for position, entry in enumerate(entries):
        module = catalog.load("stage", entry.name)
        config = validate(module.Config, entry.options, f"stage '{entry.name}'")
        if module.CONSUMES and kind not in module.CONSUMES:
            before = links[-1].label if links else "the model"
            raise RecipeError(
                f"stage '{entry.name}' takes {' or '.join(sorted(module.CONSUMES))} and {before} gives "
                f"{kind or 'nothing'}: change the order of the stages"
            )
        if not module.CONSUMES and position > 0:
            raise RecipeError(f"stage '{entry.name}' starts a chain: it can only stand first")
        if module.NEEDS_DATA and recipe.data is None:
            raise RecipeError(f"stage '{entry.name}' needs data: give --data DIR or 'data:' in the recipe")
        seen = sum(link.name == entry.name for link in links)
        label = entry.name if not seen else f"{entry.name}-{seen + 1}"
        links.append(Link(label=label, name=entry.name, module=module, config=config))
        kind = module.PRODUCES
    return links, start


def _with_load(recipe: Recipe, entries: list[NamedEntry]) -> list[NamedEntry]:
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
    return [Named(name=LOAD, options=options), *rest]


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
