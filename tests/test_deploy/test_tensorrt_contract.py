"""The adapter against the real Python bindings of TensorRT 10, 11 and RTX, and the listing of 8.6.

The bindings import over a library of nine functions that give NULL, compiled here: names and
signatures are real, nothing can be built. ``.ci/run`` puts the bindings into ``.ci-bindings``.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.tensorrt import names

ROOT = Path(__file__).resolve().parent.parent.parent
DRIVER = ROOT / "tests" / "bindings_driver.py"
BINDINGS = Path(os.environ.get("PAREDOWN_TENSORRT_BINDINGS", ROOT / ".ci-bindings"))
# Name of the table -> whether TensorRT 8.6 has it.
HAS_8_6: dict[str, bool] = json.loads((ROOT / "tests" / "tensorrt_8_6.json").read_text(encoding="utf-8"))
LISTED = sorted(f"{owner}.{member}".strip(".") for owner, members in names.USED.items() for member in members)

# What the libraries behind the bindings export; each gives NULL, which the bindings report as an error.
STUB = """
#include <stddef.h>
void *createInferBuilder_INTERNAL(void *logger, int version) { return NULL; }
void *createInferRefitter_INTERNAL(void *engine, void *logger, int version) { return NULL; }
void *createInferRuntime_INTERNAL(void *logger, int version) { return NULL; }
void *getBuilderPluginRegistry(int capability) { return NULL; }
void *getPluginRegistry(void) { return NULL; }
int initLibNvInferPlugins(void *logger, const char *space) { return 0; }
void *createNvOnnxParser_INTERNAL(void *network, void *logger, int version) { return NULL; }
void *createNvOnnxParserRefitter_INTERNAL(void *refitter, void *logger, int version) { return NULL; }
int getNvOnnxParserVersion(void) { return 0; }
"""

ALL_LEVELS = ["ampere_plus", "none", "same_compute_capability"]
EXPECTED = {
    "10": {
        "flavor": "tensorrt",
        "strongly_typed": True,
        "explicit_batch_flag": True,
        "precision_flags": ["bf16", "fp16", "fp8", "int8"],
        "ahead_of_time": False,
        "timing_cache": True,
    },
    "11": {
        "flavor": "tensorrt",
        "strongly_typed": True,
        "explicit_batch_flag": False,
        "precision_flags": [],
        "ahead_of_time": False,
        "timing_cache": True,
    },
    "rtx": {
        "flavor": "tensorrt-rtx",
        "strongly_typed": True,
        "explicit_batch_flag": False,
        "precision_flags": [],
        "ahead_of_time": True,
        "timing_cache": False,
    },
}


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three libraries of both versions, compiled from ``STUB``."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the stand-in for TensorRT's libraries cannot be made")
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "stub.c").write_text(STUB)
    for version in ("10", "11"):
        for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
            name = f"lib{library}.so.{version}"
            command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "stub.c", "-o", name]
            subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder


def _look(version: str, stubs: Path) -> dict[str, Any]:
    folder = BINDINGS / version
    module = "tensorrt_rtx_bindings" if version == "rtx" else "tensorrt_bindings"
    if not (folder / module).is_dir():
        pytest.skip(f"no TensorRT {version} bindings in {folder}: .ci/run installs them")
    process = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), module],
        env={**os.environ, "LD_LIBRARY_PATH": str(stubs)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout)
    return report


@pytest.fixture(scope="module", params=["10", "11", "rtx"])
def real(request: pytest.FixtureRequest, stubs: Path) -> tuple[str, dict[str, Any]]:
    """What the bindings of one version say."""
    return request.param, _look(request.param, stubs)


def parameters(line: str) -> list[tuple[str, bool]]:
    """Names of a pybind signature's parameters without ``self``, each with whether it may be left out."""
    inside = line[line.index("(") + 1 : line.rindex(")")]
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(inside + ","):
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and depth == 0:
            parts.append(inside[start:place].strip())
            start = place + 1
    named = [(part.split(":")[0].strip(), "=" in part) for part in parts if part]
    return [parameter for parameter in named if parameter[0] != "self"]


def signatures(name: str, document: str) -> list[list[tuple[str, bool]]]:
    """Every overload in a pybind docstring."""
    lines = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\(.*\) -> .*$", document, re.MULTILINE)
    return [parameters(line) for line in lines]


def fits(arguments: tuple[str, ...], signature: list[tuple[str, bool]]) -> bool:
    """Whether arguments of those names, in that order, make a call."""
    named = [name for name, _ in signature]
    return tuple(named[: len(arguments)]) == arguments and all(
        optional for _, optional in signature[len(arguments) :]
    )


def test_every_name_exists_in_the_real_bindings(real: tuple[str, dict[str, Any]]) -> None:
    """In each version, unless the name is one that is probed first."""
    version, report = real
    missing = [name for name in LISTED if report["documents"][name] is None and name not in names.OPTIONAL]
    assert missing == [], f"TensorRT {version} lacks {missing}"


def test_every_call_has_the_real_signature(real: tuple[str, dict[str, Any]]) -> None:
    """The arguments by name and order, nothing required left out, for some overload."""
    version, report = real
    checked, wrong = 0, []
    for owner, members in names.USED.items():
        for member, arguments in members.items():
            document = report["documents"][f"{owner}.{member}".strip(".")]
            if arguments is None or document is None:
                continue
            checked += 1
            if not any(fits(arguments, signature) for signature in signatures(member, document)):
                wrong.append(f"{owner}.{member}{arguments}: {document.splitlines()[:1]}")
    assert wrong == [], f"TensorRT {version}"
    assert checked >= 20


def test_a_wrong_signature_would_be_seen() -> None:
    """The comparison itself: another name, a missing argument, one too many."""
    document = "build(self: a.B, network: a.N[int, str], config: a.C = None) -> a.M\n\n  Builds."
    (signature,) = signatures("build", document)
    assert signature == [("network", False), ("config", True)]
    assert fits(("network",), signature)
    assert fits(("network", "config"), signature)
    assert not fits((), signature)
    assert not fits(("graph",), signature)
    assert not fits(("network", "config", "more"), signature)


def test_the_probe_sees_what_is_there(real: tuple[str, dict[str, Any]]) -> None:
    """The record that decides everything, against what each version is known to have."""
    version, report = real
    can = report["can"]
    assert {name: can[name] for name in EXPECTED[version]} == EXPECTED[version]
    for name in ("progress_monitor", "named_parser_errors", "version_compatible", "refit", "strip_plan"):
        assert can[name] is True, name
    assert can["weight_streaming"] is True
    assert can["hardware_levels"] == ALL_LEVELS
    assert can["version"].split(".")[0] == {"10": "10", "11": "11", "rtx": "1"}[version]
    assert report["monitor"] == "IProgressMonitor"
    assert report["layer_times"] == {"layer": 1.0}
    if version == "rtx":
        assert can["compute_capabilities"] == ["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]


def test_a_builder_that_cannot_be_had_is_a_sentence(real: tuple[str, dict[str, Any]]) -> None:
    """Over the stand-in library the real bindings refuse, and the user reads why; RTX is whole here."""
    version, report = real
    if version == "rtx":
        assert report["without_libraries"] == ""
    else:
        assert "gives no builder on this machine" in report["without_libraries"]
        assert "paredown doctor" in report["without_libraries"]


def told(name: str) -> bool:
    """Whether a listing says it: it holds neither constructors nor enumerations inside classes."""
    owner, _, member = name.rpartition(".")
    return bool(owner) and "." not in owner and member != "__init__" and owner != "ILogger"


def test_every_name_is_known_of_8_6() -> None:
    """No bindings of 8.6 install here: which names of the table it has was written down once."""
    assert {name for name in LISTED if told(name)} == HAS_8_6.keys(), "say of a new name whether 8.6 has it"
    missing = [name for name, present in HAS_8_6.items() if not present and name not in names.OPTIONAL]
    assert missing == []
    for name in (
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "BuilderFlag.STRIP_PLAN",
        "BuilderFlag.BF16",
    ):
        assert not HAS_8_6[name]
    assert HAS_8_6["PreviewFeature.PROFILE_SHARING_0806"]


def test_what_was_written_down_of_8_6_is_what_its_listing_says(shared: Path) -> None:
    """Each name's presence, against the listing of the whole API where that is at hand."""
    file = shared / "design" / "gpu_api" / "api86.json"
    if not file.is_file():
        pytest.skip(f"no API listing at {file}")
    api = json.loads(file.read_text())["api"]
    api_names = {
        f"{owner}.{member}"
        for owner, listed in api.items()
        for member in (*listed.get("members", []), *listed.get("enum", []))
    }
    assert {name: name in api_names for name in HAS_8_6} == HAS_8_6


# --- The code against the table --------------------------------------------------------------------


def code() -> list[Path]:
    """The files that touch TensorRT: those where something is called ``trt``."""
    files = [*(ROOT / "deploy" / "tensorrt").glob("*.py"), ROOT / "deploy" / "runtimes" / "trt.py"]
    return [file for file in files if file.is_file() and "trt." in file.read_text(encoding="utf-8")]


def owner_of(node: ast.expr) -> str | None:
    """The class, by the table, of what an expression is; None for what is not TensorRT's."""
    if isinstance(node, ast.Name):
        return names.VARIABLES.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = owner_of(node.value)
        if owner is not None:
            path = f"{owner}.{node.attr}".strip(".")
            return path if path in names.USED else None
    return None


def undeclared(source: str) -> Iterator[str]:
    """What a source does with TensorRT's objects that the table does not say."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = owner_of(node.value)
            is_class = owner == "" and node.attr in names.USED
            if owner is not None and not is_class and node.attr not in names.USED.get(owner, {}):
                yield f"line {node.lineno}: {owner}.{node.attr}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = owner_of(node.func.value)
            if owner is None:
                continue
            member = node.func.attr
            if owner == "" and member in names.USED:
                owner, member = member, "__init__"
            arguments = names.USED.get(owner, {}).get(member)
            count = len(node.args) - (node.func.attr == "__init__")
            if arguments is None or count != len(arguments) or node.keywords:
                yield f"line {node.lineno}: {owner}.{member} called with {count} arguments"
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name):
            named = node.arg in names.VARIABLES or node.arg in ("module", "severity")
            if node.annotation.id == "Any" and not named:
                yield f"line {node.lineno}: '{node.arg}' may be TensorRT's and has no name of the table"
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            function, target = node.value.func, node.targets[0]
            made_by = owner_of(function.value) if isinstance(function, ast.Attribute) else None
            if (
                made_by is not None
                and isinstance(target, ast.Name)
                and target.id not in (*names.VARIABLES, "plan")
            ):
                yield f"line {node.lineno}: '{target.id}' is TensorRT's and has no name of the table"


def test_the_code_uses_only_declared_names() -> None:
    """Each file that touches TensorRT, every attribute and every call."""
    files = code()
    assert {file.name for file in files} >= {"binding.py", "monitor.py"}
    breaches = [
        f"{file.name}, {breach}" for file in files for breach in undeclared(file.read_text(encoding="utf-8"))
    ]
    assert breaches == []


def test_every_declared_name_is_used() -> None:
    """The table holds nothing that is left over."""
    text = "\n".join(
        file.read_text(encoding="utf-8")
        for file in (ROOT / "deploy").rglob("*.py")
        if file.name != "names.py"
    )
    left = [
        name
        for name in LISTED
        if name.split(".")[-1] not in text and not name.startswith("ComputeCapability.SM")
    ]
    assert left == []


@pytest.mark.parametrize(
    "source",
    [
        "trt.init_libnvinfer_plugins(None, '')",
        "trt.BuilderFlag.SPARSE_WEIGHTS",
        "builder.max_threads = 4",
        "builder.build_serialized_network(network)",
        "parser.parse_from_file(model=path)",
        "trt.Builder()",
        "def f(thing: Any) -> None: thing.set_flag(1)",
        "other = builder.create_builder_config()",
    ],
)
def test_a_name_that_is_not_declared_trips_the_scan(source: str) -> None:
    """Planted mistakes, each found."""
    assert list(undeclared(source))
