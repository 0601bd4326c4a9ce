"""Which split of which source plays which side.

A side is what the configuration names, else the first split that bears one of its usual names:
``train``; ``selection``; ``validation``, ``valid``, ``val``, ``dev``, ``test`` for evaluation, in this
order; ``unlabeled``. One set of rows plays one side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.data.beir import Beir, is_beir
from compress.data.sources import Files, Source
from compress.errors import DataError
from compress.reading import files
from compress.recipe import DataConfig

SIDES = ("train", "selection", "eval", "unlabeled")
_USUAL: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "selection": ("selection",),
    "eval": ("validation", "valid", "val", "dev", "test"),
    "unlabeled": ("unlabeled", "unlabelled"),
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?(:[\w.-]+)?")


@dataclass(frozen=True)
class Layout:
    """A source with the split that plays each side.

    Attributes:
        source: where the rows are.
        splits: side -> split.
        eval_also: splits that could have been the evaluation by their name too.
    """

    source: Source
    splits: dict[str, str]
    eval_also: tuple[str, ...]


def open_source(config: DataConfig) -> Source:
    """The source that a configuration names: a folder, a hub data set, a bundled set, or single files.

    Raises:
        DataError: there is none of that name.
    """
    if config.source is None:
        return Files(None)
    kind, colon, name = config.source.partition(":")
    if colon and kind == "sklearn":
        from compress.data.bundled import Bundled

        return Bundled(name)
    folder = files.located(config.source, error=DataError)
    if files.is_folder(folder, error=DataError):
        return Beir(folder) if is_beir(folder) else Files(folder)
    if folder.exists():
        raise DataError(
            f"data.source is the file {files.shown(config.source)}: give its folder, or say what its rows "
            "are for, with data.train or data.eval (on the command line: --set data.eval=FILE)"
        )
    if not _HUB_ID.fullmatch(config.source):
        raise DataError(
            f"there is no folder {files.shown(config.source)}: data.source is a folder, a hub data set id "
            "(owner/name, with :config where it has several) or sklearn:digits"
        )
    from compress.data.hub import HubData

    return HubData(config.source, config.revision)


def lay_out(config: DataConfig, sides: Sequence[str] = SIDES) -> Layout:
    """The splits that play some sides; a side that nothing plays is absent.

    Raises:
        DataError: a named split is not there, no split is found at all, or one plays two sides.
    """
    source = open_source(config)
    names = source.splits()
    listed = f"the splits there are: {', '.join(names) or 'none'}"
    splits: dict[str, str] = {}
    also: tuple[str, ...] = ()
    for side in SIDES:
        named: str | None = getattr(config, side)
        if named is not None:
            split = named if named in names else source.add(named) if isinstance(source, Files) else None
            if split is None:
                origin = f" of {config.source}" if config.source else ""
                raise DataError(
                    f"data.{side} is '{named}', which is neither a file nor a split{origin}; {listed}"
                )
            splits[side] = split
            continue
        candidates = [name for name in _USUAL[side] if name in names and name not in splits.values()]
        if candidates:
            splits[side] = candidates[0]
            also = tuple(candidates[1:]) if side == "eval" else also
    if not splits:
        origin = f"{config.source} has" if config.source else "no data is given, so there is"
        raise DataError(
            f"{origin} no split named train, selection, validation, dev, test or unlabeled ({listed}): name "
            "the files or splits with data.train and data.eval in a recipe, or give one file with --data"
        )
    _refuse_shared(splits, source)
    return Layout(source, {side: split for side, split in splits.items() if side in sides}, also)


def _refuse_shared(splits: Mapping[str, str], source: Source) -> None:
    def what(split: str) -> Any:
        return (
            [files.resolved(path, error=DataError) for path in source.paths(split)]
            if isinstance(source, Files)
            else split
        )

    sides = list(splits)
    for i, first in enumerate(sides):
        for second in sides[i + 1 :]:
            if what(splits[first]) == what(splits[second]):
                raise DataError(
                    f"data.{first} and data.{second} are both '{splits[second]}': rows that train, select or "
                    "calibrate must not also measure; give two different sets"
                )
