"""What the distribution promises: light imports, layers, names, versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import bench
import compress
import deploy
import paredown

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "datasets", "sklearn", "matplotlib", "scipy")


def heavy_after(code: str) -> list[str]:
    """Heavy modules that are loaded after some code ran in a fresh process."""
    script = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    modules: list[str] = eval(process.stdout.splitlines()[-1])
    return modules


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["bench", "--help"],
        ["quantize", "--help"],
        ["list", "--json"],
        ["--version"],
    ],
)
def test_help_and_list_import_nothing_heavy(arguments: list[str]) -> None:
    """Answers that need no model come without importing torch or its like."""
    code = (
        "import contextlib, io\nfrom paredown.app import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({arguments!r})"
    )
    assert heavy_after(code) == []


def test_importing_the_packages_imports_nothing_heavy() -> None:
    """The three packages load their public names on first use."""
    assert heavy_after("import compress, deploy, bench, paredown") == []


def test_the_version_is_said_once() -> None:
    """Pyproject and the package agree."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert compress.__version__ == declared


@pytest.mark.parametrize("package", [compress, deploy, bench, paredown])
def test_public_names_are_there(package: ModuleType) -> None:
    """Each name that a package lists loads, and one that it does not list is an AttributeError."""
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        package.no_such_name  # noqa: B018 - the access is the test


@pytest.mark.parametrize("package", ["compress", "deploy", "bench", "paredown"])
def test_every_room_has_its_place_in_the_order(package: str) -> None:
    """What stands in a package is named in the layers of import-linter, so that nothing is outside."""
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    ordered = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    rooms = {
        f"{package}.{path.stem}"
        for path in (ROOT / package).iterdir()
        if (path.suffix == ".py" and not path.stem.startswith("__")) or (path / "__init__.py").is_file()
    }
    assert len(rooms) > 1
    assert rooms <= ordered, rooms - ordered


def test_constraints_pin_every_requirement() -> None:
    """Every requirement of the CPU tool, its tests and its docs has an exact version in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["cpu"], *extras["dev"], *extras["docs"]]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[<>=\[ ;]", entry)[0].lower().replace("_", "-") for entry in requirements}
    assert names <= pinned, names - pinned


def test_pinned_versions_are_the_ones_that_run() -> None:
    """The libraries that decide the figures run here in the pinned versions."""
    pins = dict(
        line.strip().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for name in ("torch", "transformers", "onnx", "onnxruntime", "torch-pruning", "datasets"):
        assert importlib.metadata.version(name).split("+")[0] == pins[name], name


def tracked() -> dict[str, str]:
    """Every text file that is committed, by its path in the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    texts = {}
    for name in listed.decode().split("\0"):
        with contextlib.suppress(UnicodeDecodeError, FileNotFoundError):  # pictures; what is being removed
            texts[name] = (ROOT / name).read_text(encoding="utf-8") if name else ""
    return texts


def test_no_file_of_ours_pickles() -> None:
    """No pickle, no torch.load or torch.save in any source."""
    ours = {name: text for name, text in tracked().items() if name.endswith(".py") and "tests/" not in name}
    assert len(ours) > 40
    forbidden = re.compile(r"^\s*import pickle|torch\.(load|save)\(", re.MULTILINE)
    assert [name for name, text in ours.items() if forbidden.search(text)] == []


# A home or a checkout of some machine, or an index that only one network has.
MACHINE = re.compile(
    r"(?<![\w.~}])/(?:home|root|Users|opt|work|srv|mnt|workspace|builds)/[\w.-]+"
    r"|(?:--|-)?index-url[ =]|\[global\]"
)
# Made-up paths that a test is about.
MADE_UP = {"tests/test_bench/test_portable.py"}


def test_no_file_names_a_machine_or_a_registry() -> None:
    """No committed text, be it source, page, workflow or recorded result, holds a path of a machine."""
    texts = tracked()
    assert {"README.md", ".ci/run", "pyproject.toml"} <= set(texts)
    this_file = "tests/test_packaging.py"
    named = {
        name: match.group()
        for name, text in texts.items()
        if name not in MADE_UP | {this_file} and (match := MACHINE.search(text))
    }
    assert named == {}


@pytest.mark.parametrize("text", ["/home/ci/x", "in /work/main", "--index-url https://i", "'/root/.cache'"])
def test_a_machine_s_path_is_seen(text: str) -> None:
    """The search above finds what it is there for."""
    assert MACHINE.search(text)
