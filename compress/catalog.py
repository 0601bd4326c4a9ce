"""The registry: a folder is a shelf, a file in it is an entry, the file's name is the entry's name.

Listing reads file names only, so that it imports nothing heavy; loading imports the one module that
was asked for. In names, ``-`` and ``_`` are alike (recipes write ``export-onnx``, files
``export_onnx.py``).
"""

import ast
import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType
from typing import Literal

from compress.errors import UnknownName

Shelf = Literal["stage", "criterion", "task", "runtime", "probe", "gate", "tracker", "recipe"]

_SHELVES: dict[str, tuple[str, ...]] = {
    "stage": ("compress.stages", "deploy.stages"),
    "criterion": ("compress.criteria",),
    "task": ("compress.tasks",),
    "runtime": ("deploy.runtimes",),
    "probe": ("bench.probes",),
    "gate": ("bench.gates",),
    "tracker": ("bench.trackers",),
    "recipe": ("compress.recipes",),
}


def canonical(name: str) -> str:
    """The name as recipes write it: lower case, with hyphens."""
    return name.strip().lower().replace("_", "-")


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed whole: reinstall paredown")
    return Path(next(iter(spec.submodule_search_locations)))


def entries(shelf: Shelf) -> dict[str, Path]:
    """Every entry of a shelf by its canonical name, with its file; nothing is imported."""
    suffix = ".yaml" if shelf == "recipe" else ".py"
    found: dict[str, Path] = {}
    for package in _SHELVES[shelf]:
        for path in sorted(_folder(package).glob(f"*{suffix}")):
            if path.stem.startswith("_"):
                continue
            name = canonical(path.stem)
            if name in found:
                raise ImportError(f"two files claim the {shelf} '{name}': {found[name]} and {path}")
            found[name] = path
    return found


def names(shelf: Shelf) -> list[str]:
    """The canonical names on a shelf, sorted."""
    return sorted(entries(shelf))


def path(shelf: Shelf, name: str) -> Path:
    """The file of an entry.

    Raises:
        UnknownName: no entry bears that name; the message lists those that exist.
    """
    found = entries(shelf)
    wanted = canonical(name)
    if wanted not in found:
        raise UnknownName(shelf, name, found)
    return found[wanted]


def summary(shelf: Shelf, name: str) -> str:
    """The first line of an entry's docstring (of a recipe: its first comment), without importing it."""
    file = path(shelf, name)
    text = file.read_text(encoding="utf-8")
    if shelf == "recipe":
        first = text.lstrip().splitlines()[0]
        return first.lstrip("# ").strip() if first.startswith("#") else ""
    return (ast.get_docstring(ast.parse(text)) or "").strip().split("\n")[0]


def load(shelf: Shelf, name: str) -> ModuleType:
    """Import one entry.

    Raises:
        UnknownName: no entry bears that name.
        ImportError: the entry exists and is broken; the cause is chained, never swallowed.
    """
    file = path(shelf, name)
    package = next(p for p in _SHELVES[shelf] if _folder(p) == file.parent)
    module = f"{package}.{file.stem}"
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise ImportError(
            f"the {shelf} '{canonical(name)}' ({module}) cannot be imported: {cause}"
        ) from cause


def options(shelf: Shelf, name: str) -> list[tuple[str, str, str]]:
    """Name, default and meaning of each option of an entry, read from its ``Config`` and docstring."""
    config = load(shelf, name).Config
    meanings: dict[str, str] = {}
    for part in reversed(config.__mro__):  # an inherited option is explained where it is defined
        meanings |= _attribute_docs(inspect.cleandoc(part.__doc__ or ""))
    rows = []
    for field, info in config.model_fields.items():
        default = "required" if info.is_required() else repr(info.get_default(call_default_factory=True))
        rows.append((field, default, meanings.get(field, "")))
    return rows


def _attribute_docs(doc: str) -> dict[str, str]:
    """The ``Attributes:`` section of a Google docstring, as name -> text."""
    found: dict[str, str] = {}
    name = ""
    inside = False
    for line in doc.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() == "Attributes:":
            inside = True
        elif inside and line.strip() and indent == 4:
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif inside and line.strip() and indent > 4:
            found[name] += " " + line.strip()
        elif inside and line.strip():
            inside = False
    return found
