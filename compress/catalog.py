"""The registry: a folder is a shelf, a file in it is an entry, the file's name is the entry's name.

Other distributions bring entries by entry points (``compress.distributions``). Listing reads names and
texts only, so that it imports nothing heavy; loading imports the one module that was asked for, and checks
it against the Protocol of its shelf. In names, ``-`` and ``_`` are alike (recipes write ``export-onnx``,
files ``export_onnx.py``).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, cast
from weakref import WeakKeyDictionary

from compress import contract, distributions
from compress.errors import EntryError, UnknownName, UserError, first_line

if TYPE_CHECKING:
    from bench.findings import Finding
    from bench.gates import Gate
    from bench.probes import Probe
    from bench.trackers import Tracker
    from compress.criteria import Criterion
    from compress.stage import Stage
    from compress.tasks import Task
    from deploy.runtimes import Runner

Shelf = Literal["stage", "criterion", "task", "runtime", "probe", "gate", "finding", "tracker", "recipe"]

_SHELVES: dict[str, tuple[str, ...]] = {
    "stage": ("compress.stages", "deploy.stages"),
    "criterion": ("compress.criteria",),
    "task": ("compress.tasks",),
    "runtime": ("deploy.runtimes",),
    "probe": ("bench.probes",),
    "gate": ("bench.gates",),
    "finding": ("bench.findings",),
    "tracker": ("bench.trackers",),
    "recipe": ("compress.recipes",),
}
_GROUPS: dict[str, str] = {
    "stage": "paredown.stages",
    "criterion": "paredown.criteria",
    "task": "paredown.tasks",
    "runtime": "paredown.runtimes",
    "probe": "paredown.probes",
    "gate": "paredown.gates",
    "finding": "paredown.findings",
    "tracker": "paredown.trackers",
    "recipe": "paredown.recipes",
}
_PROTOCOLS: dict[str, tuple[str, str]] = {
    "stage": ("compress.stage", "Stage"),
    "criterion": ("compress.criteria", "Criterion"),
    "task": ("compress.tasks", "Task"),
    "runtime": ("deploy.runtimes", "Runtime"),
    "probe": ("bench.probes", "Probe"),
    "gate": ("bench.gates", "Gate"),
    "finding": ("bench.findings", "Finding"),
    "tracker": ("bench.trackers", "Tracker"),
}
_checked: WeakKeyDictionary[ModuleType, set[str]] = WeakKeyDictionary()
"""Module -> the shelves whose contract it was found to keep."""


@dataclass(frozen=True)
class Entry:
    """Where an entry is.

    Attributes:
        file: its module, or its recipe; None where a distribution names a module that is not there.
        module: to import; of a recipe the package that it lies in.
        origin: what brings it; None for an entry of ours.
    """

    file: Path | None
    module: str
    origin: distributions.Brought | None = None

    @property
    def source(self) -> str | None:
        """The distribution that brings it, with its version; None for an entry of ours."""
        return f"{self.origin.distribution} {self.origin.version}" if self.origin else None


def canonical(name: str) -> str:
    """The name as recipes write it: lower case, with hyphens."""
    return name.strip().lower().replace("_", "-")


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package {package} is not installed whole: reinstall paredown")
    return Path(next(iter(spec.submodule_search_locations)))


def entries(shelf: Shelf) -> dict[str, Entry]:
    """Every entry of a shelf by its canonical name; nothing is imported.

    Raises:
        EntryError: two claim one name.
    """
    suffix = ".yaml" if shelf == "recipe" else ".py"
    by_name: dict[str, Entry] = {}
    for package in _SHELVES[shelf]:
        for file in sorted(_folder(package).glob(f"*{suffix}")):
            if file.stem.startswith("_"):
                continue
            name = canonical(file.stem)
            if name in by_name:
                raise EntryError(
                    f"two files claim the {shelf} '{name}': {by_name[name].file} and {file}: rename one"
                )
            by_name[name] = Entry(file, package if shelf == "recipe" else f"{package}.{file.stem}")
    for brought in distributions.brought(_GROUPS[shelf]):
        name = canonical(brought.name)
        if name in by_name:
            rival = by_name[name].source
            raise EntryError(
                f"{brought.distribution} {brought.version} brings a {shelf} '{name}' ({brought.module}), and "
                f"{f'{rival} brings one too' if rival else 'paredown has its own'}: uninstall "
                f"{brought.distribution}, or have its entry point in '{brought.group}' renamed"
            )
        by_name[name] = Entry(_outside_file(shelf, brought), brought.module, brought)
    return by_name


def _outside_file(shelf: Shelf, brought: distributions.Brought) -> Path | None:
    file = brought.folder_or_file()
    if shelf != "recipe" or file is None:
        return file
    names = {recipe.stem: recipe for recipe in file.parent.glob("*.yaml")}
    return next(
        (recipe for stem, recipe in names.items() if canonical(stem) == canonical(brought.name)), None
    )


def names(shelf: Shelf) -> list[str]:
    """The canonical names on a shelf, sorted."""
    return sorted(entries(shelf))


def entry(shelf: Shelf, name: str) -> Entry:
    """Where an entry is.

    Raises:
        UnknownName: no entry bears that name; the message lists those that exist.
    """
    by_name = entries(shelf)
    key = canonical(name)
    if key not in by_name:
        raise UnknownName(shelf, name, by_name)
    return by_name[key]


def path(shelf: Shelf, name: str) -> Path:
    """The file of an entry.

    Raises:
        UnknownName: no entry bears that name; the message lists those that exist.
        EntryError: a distribution names a file that is not there.
    """
    return _file(shelf, name, entry(shelf, name))


def _file(shelf: Shelf, name: str, record: Entry) -> Path:
    if record.file is None:
        form = "a package with that recipe as a YAML file" if shelf == "recipe" else "a module"
        raise EntryError(
            f"{record.source} names '{record.module}' as the {shelf} '{canonical(name)}', and that is not "
            f"{form} here: reinstall it, or correct its entry point"
        )
    return record.file


def summary(shelf: Shelf, name: str) -> str:
    """The first line of an entry's docstring (of a recipe: its first comment), without importing it.

    Raises:
        EntryError: its file is not there or is no Python.
    """
    file = path(shelf, name)
    content = file.read_bytes()
    if shelf == "recipe":
        first = next(iter(content.decode("utf-8", errors="replace").lstrip().splitlines()), "")
        return first.lstrip("# ").strip() if first.startswith("#") else ""
    if file.suffix != ".py":  # compiled
        return ""
    try:
        tree = ast.parse(content)  # bytes: its first line may name another encoding
    except SyntaxError as cause:
        raise _unimportable(shelf, name, file, cause) from cause
    return (ast.get_docstring(tree) or "").strip().split("\n")[0]


def load(shelf: Shelf, name: str) -> ModuleType:
    """Import one entry and check it against its shelf's Protocol, whose defaults fill what it leaves out.

    Raises:
        UnknownName: no entry bears that name.
        EntryError: the entry cannot be imported, with its cause, or does not keep its contract.
    """
    record = entry(shelf, name)
    file = _file(shelf, name, record)
    try:
        module = importlib.import_module(record.module)
    except UserError:
        raise
    except (ImportError, SyntaxError) as cause:
        raise _unimportable(shelf, name, file, cause) from cause
    except (Exception, SystemExit) as cause:
        if record.origin is None:  # of ours: a bug, which keeps its traceback
            raise
        raise _unimportable(shelf, name, file, cause) from cause
    if not isinstance(module, ModuleType):
        raise EntryError(
            f"the {shelf} '{canonical(name)}' ({file}) puts an object of the type "
            f"{type(module).__qualname__} in the place of its module (sys.modules), and "
            "a module is wanted: have it keep its own"
        )
    if shelf not in _checked.setdefault(module, set()):
        home, protocol_name = _PROTOCOLS[shelf]
        protocol = getattr(importlib.import_module(home), protocol_name)
        breaches = contract.breaches(module, protocol)
        if breaches:
            raise EntryError(
                f"the {shelf} '{canonical(name)}' ({file}) does not keep the contract of "
                f"{home}.{protocol_name}: {'; '.join(breaches)}"
            )
        brought = {record.origin.distribution: record.origin.version} if record.origin else {}
        contract.complete(module, protocol, NAME=canonical(name), BROUGHT_BY=brought)
        _checked[module].add(shelf)
    return module


def _unimportable(shelf: Shelf, name: str, file: Path, cause: BaseException) -> EntryError:
    """What stopped an import, in a sentence with the entry's file and, where it has one, its line."""
    if isinstance(cause, SyntaxError):
        line = cause.lineno if cause.filename in (str(file), "<unknown>") else None
        reason = f"{type(cause).__name__}: {cause.msg}" + (
            "" if line else f" ({cause.filename}, {cause.lineno})"
        )
    else:
        frames = traceback.extract_tb(cause.__traceback__)
        line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(file)), None)
        reason = f"{type(cause).__name__}: {first_line(cause)}"
    place = f"{file}, line {line}" if line else str(file)
    return EntryError(f"the {shelf} '{canonical(name)}' ({place}) cannot be imported: {reason}")


def stage(name: str) -> Stage:
    """A stage."""
    return cast("Stage", load("stage", name))


def task(name: str) -> Task:
    """A task."""
    return cast("Task", load("task", name))


def criterion(name: str) -> Criterion:
    """A criterion of pruning."""
    return cast("Criterion", load("criterion", name))


def runtime(name: str) -> type[Runner]:
    """The ``Runner`` of a runtime."""
    runner: type[Runner] = load("runtime", name).Runner
    return runner


def probe(name: str) -> Probe:
    """A probe."""
    return cast("Probe", load("probe", name))


def gate(name: str) -> Gate:
    """A gate."""
    return cast("Gate", load("gate", name))


def finding(name: str) -> Finding:
    """A finding."""
    return cast("Finding", load("finding", name))


def tracker(name: str) -> Tracker:
    """A tracker."""
    return cast("Tracker", load("tracker", name))


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
    docs: dict[str, str] = {}
    name = ""
    inside = False
    for line in doc.splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() == "Attributes:":
            inside = True
        elif inside and line.strip() and indent == 4:
            name, _, text = line.strip().partition(":")
            docs[name] = text.strip()
        elif inside and line.strip() and indent > 4:
            docs[name] += " " + line.strip()
        elif inside and line.strip():
            inside = False
    return docs
