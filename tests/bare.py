"""A machine on which little is installed: everything else that lies in this environment is hidden.

``write`` leaves a ``sitecustomize`` in a folder; processes that have the folder on their path, and their
children, find only the given distributions with what those require.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable
from pathlib import Path

_HIDE = """
import importlib.machinery
import importlib.metadata

_MODULES, _DISTRIBUTIONS = {modules!r}, {distributions!r}
_find, _named = importlib.machinery.PathFinder.find_spec, importlib.metadata.Distribution.from_name


def _find_spec(name, path=None, target=None):
    spec = _find(name, path, target)
    place = "" if path is not None or spec is None else str(spec.origin or spec.submodule_search_locations)
    return None if "site-packages" in place and name not in _MODULES else spec


def _from_name(name):
    if name.replace("_", "-").lower() not in _DISTRIBUTIONS:
        raise importlib.metadata.PackageNotFoundError(name)
    return _named(name)


importlib.machinery.PathFinder.find_spec = staticmethod(_find_spec)
importlib.metadata.Distribution.from_name = staticmethod(_from_name)
"""


def _plain(requirement: str) -> str:
    """The name of a requirement, as distributions are looked up by it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def closure(requirements: Iterable[str]) -> set[str]:
    """The installed distributions among some and what they require, without extras."""
    found: set[str] = set()
    waiting = [_plain(name) for name in requirements]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            further = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [_plain(one) for one in further if "extra ==" not in one]
    return found


def write(folder: Path, requirements: Iterable[str]) -> Path:
    """A folder whose ``sitecustomize`` hides everything but some distributions and what they require."""
    kept = closure(requirements)
    modules = {
        file.parts[0].split(".")[0]
        for name in kept
        for file in importlib.metadata.files(name) or ()
        if not file.parts[0].endswith((".dist-info", ".pth"))
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = _HIDE.format(modules=modules | set(sys.stdlib_module_names), distributions=kept)
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return folder
