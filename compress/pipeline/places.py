"""Paths in a recipe made absolute, so that the recorded recipe means the same places from any folder.

Only what names a place is looked at: ``model``, ``data`` and the options whose ``Config`` says so, with the
type ``Place`` or ``Path``. A name that is no file or folder here (a hub id, ``git:BRANCH``, a split)
stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from compress import catalog
from compress.data.sources import Files
from compress.reading import files
from compress.recipe import DataConfig, Named, Recipe


@dataclass(frozen=True)
class Somewhere:
    """Marks an option that may name a file or folder.

    Attributes:
        words: values that are none, even where a folder bears that name.
    """

    words: frozenset[str] = frozenset()


Place = Annotated[str, Somewhere()]
"""A file, a folder, or a name of something elsewhere."""

Teacher = Annotated[str, Somewhere(frozenset({"source", "original"}))]
"""A model of this run, or a folder."""

_Entry = TypeVar("_Entry", bound=Named)


def absolute(value: str) -> str:
    """The absolute path of a file or folder; any other name as it is."""
    path = files.located(value)
    return str(path.absolute()) if files.exists(path) else value


def settle_data(config: DataConfig) -> DataConfig:
    """A data configuration with local paths made absolute.

    Raises:
        DataError: the folder has two files for one split.
    """
    changes = {} if config.source is None else {"source": absolute(config.source)}
    for name in ("train", "selection", "eval", "unlabeled"):
        value = getattr(config, name)
        if value is not None and not _is_of_source(value, config.source):
            changes[name] = absolute(value)
    return config.model_copy(update=changes)


def _is_of_source(name: str, source: str | None) -> bool:
    """Whether a side's name is a split or file of the source; any other names a file from where we are."""
    if source is None:
        return False
    folder = files.located(source)
    return not files.is_folder(folder) or name in Files(folder).splits() or files.is_file(folder / name)


def settle(recipe: Recipe) -> Recipe:
    """A recipe with every local path made absolute.

    Raises:
        UnknownName: a stage, probe or gate that does not exist.
    """
    return recipe.model_copy(
        update={
            "model": None if recipe.model is None else absolute(recipe.model),
            "data": None if recipe.data is None else settle_data(recipe.data),
            "stages": tuple(_settled("stage", entry) for entry in recipe.stages),
            "bench": recipe.bench.model_copy(
                update={"probes": tuple(_settled("probe", entry) for entry in recipe.bench.probes)}
            ),
            "gates": tuple(_settled("gate", entry) for entry in recipe.gates),
        }
    )


def _settled(shelf: catalog.Shelf, entry: _Entry) -> _Entry:
    """An entry whose options name places absolutely."""
    config: type[BaseModel] = catalog.load(shelf, entry.name).Config
    changes = {}
    for name, value in entry.options.items():
        field = config.model_fields.get(name)
        mark = _mark(field) if field is not None else None
        if mark is not None:
            changes[name] = _moved(value, mark)
    return entry.model_copy(update={"options": {**entry.options, **changes}})


def _mark(field: FieldInfo) -> Somewhere | None:
    """How an option names places; None where it does not."""
    waiting: list[Any] = [*field.metadata, field.annotation]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, Somewhere):
            return annotation
        if annotation is Path:
            return Somewhere()
        waiting += get_args(annotation)
    return None


def _moved(value: Any, mark: Somewhere) -> Any:
    if isinstance(value, list | tuple):
        return [_moved(element, mark) for element in value]
    if isinstance(value, str) and value not in mark.words:
        return absolute(value)
    return value
