"""What the acceptance run may import: on its machine nothing but the runtimes is installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = ROOT / "studies" / "gpu"

_ON_CPU_MACHINE = {"prepare.py", "packing.py"}
_ALLOWED = {"numpy", "torch", "transformers", "onnxruntime", "tensorrt"}
_OWN = ("studies.gpu", "compress.errors", "compress.children")


def _modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in _ON_CPU_MACHINE]


def test_nothing_but_the_runtimes_is_imported() -> None:
    """Every import of every module, wherever it stands; ``prepare`` is reached by its option alone."""
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = (
                    [f"{module}.{alias.name}" for alias in node.names] if module == "compress" else [module]
                )
            else:
                continue
            for name in names:
                if name == "studies.gpu.prepare":
                    assert path.name == "__main__.py"
                    continue
                root = name.split(".")[0]
                own = any(name == each or name.startswith(f"{each}.") for each in _OWN)
                assert own or root in _ALLOWED or root in sys.stdlib_module_names, (path.name, name)


_BLOCKED = """
import importlib.abc, sys
allowed = set(sys.stdlib_module_names) | {"numpy", "studies", "compress"}
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"blocked: {name}", name=name.split(".")[0])
sys.meta_path.insert(0, Block())
from studies.gpu import __main__, cells, worker
from studies.gpu.backends import trt
assert __main__.main(["--out", "x", "--list"]) == 0
request = {"plan": "tiny", "device": "cpu", "artifacts": None, "kind": "context", "params": {}}
assert worker.answer(request)["status"] == "done", worker.answer(request)
rooms = ("bench", "compress", "deploy", "paredown", "studies")
own = sorted(n for n in sys.modules if n.split(".")[0] in rooms and not n.startswith("studies.gpu"))
allowed = ("studies", "compress", "compress.children", "compress.errors", "compress.telemetry")
foreign = [n for n in own if n not in allowed]
assert not foreign, foreign
"""


def test_it_starts_where_there_is_only_numpy() -> None:
    """With everything else blocked the command lists its cells and a worker answers, as for TensorRT 8.6."""
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "headline/bert-base/trt-int8" in done.stdout


def test_the_code_reads_as_python_3_10() -> None:
    """TensorRT 8.6 has no newer Python: no newer syntax, and none of the names that came with 3.11."""
    newer = {
        "UTC",
        "StrEnum",
        "tomllib",
        "Self",
        "assert_never",
        "ExceptionGroup",
        "TaskGroup",
        "file_digest",
    }
    for path in [*_modules(), ROOT / "compress" / "errors.py", ROOT / "compress" / "__init__.py"]:
        tree = ast.parse(path.read_text(), feature_version=(3, 10))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not names & newer, path
