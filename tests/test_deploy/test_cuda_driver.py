"""What is asked of CUDA's driver exists in its real Python bindings, which need no GPU to be looked at."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import cuda_driver

ROOT = Path(__file__).resolve().parent.parent.parent
BINDINGS = Path(os.environ.get("PAREDOWN_TENSORRT_BINDINGS", ROOT / ".ci-bindings")) / "cuda"
_LOOK = r"""
import json, sys
sys.path[:0] = sys.argv[1:3]
from cuda.bindings import driver
from deploy import cuda_driver
wanted = [name for name in dir(driver) if name[:2] == "cu" and callable(getattr(driver, name))]
names = {name: (getattr(driver, name).__doc__ or "").partition("\n")[0] for name in wanted}
print(json.dumps([names, list(driver.CUdevice_attribute.__members__), cuda_driver.library() is None]))
"""


def used() -> dict[str, int]:
    """Every function of the driver that the code calls, with the number of its arguments."""
    found: dict[str, int] = {}
    for path in ROOT.glob("deploy/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "call":
                name = node.args[1]
                assert isinstance(name, ast.Constant), path
                found[str(name.value)] = len(node.args) - 2
    return found


def test_every_function_exists_with_its_arguments() -> None:
    """By the signatures that the bindings document; without a driver the machine shows no GPU."""
    if not BINDINGS.is_dir():
        pytest.skip(f"no bindings of CUDA's driver in {BINDINGS}: .ci/run installs them")
    done = subprocess.run(
        [sys.executable, "-c", _LOOK, str(BINDINGS), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    names, attributes, without = json.loads(done.stdout)
    assert len(used()) == 11
    for name, count in used().items():
        inside = names[name].partition("(")[2].rpartition(")")[0]
        parameters = [part for part in inside.split(",") if part.strip()]
        required = [part for part in parameters if "=" not in part]
        assert len(required) <= count <= len(parameters), (name, names[name])
    assert {
        "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
        "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
    } <= set(attributes)
    assert without or Path("/dev/nvidia0").exists()


def test_an_error_names_the_function_and_the_number() -> None:
    """No return code is dropped; one value comes alone, and nothing as None."""

    class Driver:
        def fails(self, *given: int) -> tuple[int, None]:
            return (2, None)

        def gives(self, value: int) -> tuple[int, int]:
            return (0, value)

        def does(self) -> tuple[int]:
            return (0,)

    with pytest.raises(cuda_driver.CudaError, match="fails failed with CUDA error 2"):
        cuda_driver.call(Driver(), "fails", 1)
    assert cuda_driver.call(Driver(), "gives", 7) == 7
    assert cuda_driver.call(Driver(), "does") is None
