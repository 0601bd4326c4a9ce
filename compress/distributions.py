"""Entries that other distributions bring, by entry points; what is found is named and not imported.

A distribution that has ``[project.entry-points."paredown.criteria"]`` with ``path-norm = "my_package.norms"``
brings the criterion ``path-norm``: the module ``my_package.norms``. For ``paredown.recipes`` the value is a
package, which has the recipe as ``NAME.yaml``.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

from compress.errors import EntryError

_PREFIX = "paredown."


@dataclass(frozen=True)
class Brought:
    """An entry that a distribution brings.

    Attributes:
        group: of the entry point, such as ``paredown.criteria``.
        name: as the distribution writes it.
        module: that the entry is, or the package that has the recipe.
        distribution: its name.
        version: of the distribution.
    """

    group: str
    name: str
    module: str
    distribution: str
    version: str

    def folder_or_file(self) -> Path | None:
        """The module's file, or a package's ``__init__.py``; None where there is none. Imports nothing."""
        top, *parts = self.module.split(".")
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        dotted = top
        for part in parts:
            if spec is None or spec.submodule_search_locations is None:
                return None
            dotted = f"{dotted}.{part}"
            spec = PathFinder.find_spec(dotted, list(spec.submodule_search_locations))
        return Path(spec.origin) if spec is not None and spec.origin and spec.has_location else None


def brought(group: str) -> tuple[Brought, ...]:
    """What all installed distributions bring for a group, in the order in which Python finds them.

    Raises:
        EntryError: the entry points of one that names us cannot be read.
    """
    return tuple(entry for entry in _all(tuple(sys.path)) if entry.group == group)


@cache
def _all(_path: tuple[str, ...]) -> tuple[Brought, ...]:
    """Every entry of ours that is brought. Only texts that name us are parsed, since most do not."""
    by_distribution: dict[str, list[Brought]] = {}
    for distribution in metadata.distributions():
        if f"[{_PREFIX}" not in (distribution.read_text("entry_points.txt") or ""):
            continue
        name = distribution.metadata["Name"]
        try:
            points = list(distribution.entry_points)
        except (TypeError, ValueError) as cause:  # what Python's own parser says of a line without a '='
            raise EntryError(
                f"the entry points of {name} {distribution.version} cannot be read, since each line is to be "
                f"'name = module': reinstall {name}, or correct them"
            ) from cause
        by_distribution.setdefault(
            name,
            [  # the first of one name shadows the others, as in an import
                Brought(point.group, point.name, point.value, name, distribution.version)
                for point in points
                if point.group.startswith(_PREFIX)
            ],
        )
    return tuple(entry for entries in by_distribution.values() for entry in entries)
