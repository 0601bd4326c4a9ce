"""What the distribution promises: light imports, layers, names, versions."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import compress

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "datasets", "sklearn", "matplotlib", "scipy")


def heavy_after(code: str) -> list[str]:
    """Heavy modules that are loaded after some code ran in a fresh process."""
    script = f"{code}\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    found: list[str] = eval(done.stdout.splitlines()[-1])
    return found


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
    assert heavy_after("import compress, deploy, bench") == []


def test_the_version_is_said_once() -> None:
    """Pyproject and the package agree."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert compress.__version__ == declared


def test_constraints_pin_every_requirement() -> None:
    """Every requirement of the CPU tool, its tests and its docs has an exact version in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cpu"], *extras["dev"], *extras["docs"]]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[<>=\[ ;]", entry)[0].lower().replace("_", "-") for entry in wanted}
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


def test_no_file_of_ours_pickles_or_names_a_host() -> None:
    """No pickle, no torch.load or torch.save, no package index and no machine path in the sources."""
    ours = [
        *(
            file
            for package in ("compress", "deploy", "bench", "paredown", "studies", "tools")
            for file in ROOT.glob(f"{package}/**/*.py")
        )
    ]
    assert len(ours) > 40
    forbidden = re.compile(r"^\s*import pickle|torch\.(load|save)\(|index-url|/opt/|/work/", re.MULTILINE)
    bad = [str(path) for path in ours if forbidden.search(path.read_text())]
    assert bad == []
