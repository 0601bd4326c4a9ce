"""Nothing leaves the machine: no address is called, no name is asked, no file is left in the user's home."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny

from compress import telemetry

TESTS = Path(__file__).resolve().parent
NETWORK = re.compile(r"sa_family=AF_INET6?.*?(?:inet_addr\(\"([^\"]+)\"\)|inet_pton\(AF_INET6, \"([^\"]+)\")")
PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
LOOPBACK = re.compile(r"127\..*|::1|::ffff:127\..*")
DNS_PORT = 53
SESSION = """
import onnx, onnxruntime, time
from onnx import helper as h, TensorProto as T
port = lambda name: h.make_tensor_value_info(name, T.FLOAT, [1])
graph = h.make_graph([h.make_node("Add", ["x", "x"], ["y"])], "g", [port("x")], [port("y")])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
onnxruntime.InferenceSession(model.SerializeToString())
time.sleep(1)
"""


@dataclass(frozen=True)
class Watched:
    """What a command did under strace.

    Attributes:
        stdout: what it printed.
        called: addresses off the machine, and name servers wherever they are.
        files: below its fresh home, relative.
    """

    stdout: str
    called: list[str]
    files: list[str]


# ONNX Runtime sends nothing where one of these is set: a test on such a server would see nothing.
SERVERS = {
    *("CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "TRAVIS", "CIRCLECI", "JENKINS_URL", "BUILD_ID"),
    *("TEAMCITY_VERSION", "APPVEYOR", "CODEBUILD_BUILD_ID", "BUILDKITE"),
}


def watch(folder: Path, *command: str, **environment: str) -> Watched:
    """Run a command under strace with a home of its own and no switch set by whoever runs the tests."""
    if shutil.which("strace") is None:
        if os.environ.get("PAREDOWN_STRACE") == "required":
            pytest.fail("PAREDOWN_STRACE=required, and there is no strace")
        pytest.skip("there is no strace here: apt-get install strace")
    home, trace = folder / "home", folder / "trace"
    home.mkdir()
    ours = {"HF_HUB_OFFLINE", "PAREDOWN_STORE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME", "HF_HOME"}
    dropped = ours | SERVERS | {switch.variable for switch in telemetry.SWITCHES}
    inherited = {key: value for key, value in os.environ.items() if key not in dropped}
    calls = "trace=connect,sendto,sendmsg,sendmmsg"
    process = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", calls, *command],
        env={**inherited, "HOME": str(home), "PYTHONPATH": str(TESTS.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert process.returncode == 0, process.stderr
    called = [line for line in trace.read_text(errors="replace").splitlines() if _leaves(line)]
    files = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    return Watched(process.stdout, called, files)


def _leaves(line: str) -> bool:
    """Whether a call of the trace goes to an address off the machine, or asks a name server."""
    match, port = NETWORK.search(line), PORT.search(line)
    if match is None:
        return False
    address = match[1] or match[2]
    return not LOOPBACK.fullmatch(address) or (port is not None and int(port[1]) == DNS_PORT)


def test_the_verbs_send_nothing_and_leave_no_file_in_the_home(tmp_path: Path) -> None:
    """No verb and no ``deploy.load`` calls an address, asks for a name, or writes a file but in the store.

    ONNX Runtime 1.32 does all three by default.
    """
    model = tiny.text_model(tmp_path / "model")
    data = tiny.answer(model, tiny.text_data(tmp_path / "data", train=64, evaluate=24))
    watched = watch(
        tmp_path, sys.executable, str(TESTS / "silent_driver.py"), str(model), str(data), str(tmp_path)
    )
    codes = json.loads(watched.stdout)
    assert set(codes.values()) == {0}, codes
    assert watched.called == []
    assert [name for name in watched.files if not name.startswith(".cache/paredown/")] == []


def test_the_watch_sees_a_library_that_speaks(tmp_path: Path) -> None:
    """The same watch on a session whose telemetry a user left on sees the files of its queue."""
    watched = watch(tmp_path, sys.executable, "-c", "import deploy" + SESSION, ORT_DISABLE_TELEMETRY="0")
    assert any(".onnxruntime" in name for name in watched.files)


@pytest.mark.parametrize("package", ["compress", "deploy", "bench", "studies.gpu.plan"])
def test_each_package_switches_off_before_anything_else_is_imported(package: str) -> None:
    """Whichever package comes first: every switch is set, and the user's own value stays."""
    code = (
        f"import os, sys, {package}; assert 'onnxruntime' not in sys.modules; "
        "print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    )
    inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_DISABLE_TELEMETRY"}
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "ORT_DISABLE_TELEMETRY": "0", "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == ["0", "1"]


def test_a_switch_that_the_user_set_is_left_alone() -> None:
    """What is set stays; all else is set to the word that its library takes."""
    environment = {"ORT_DISABLE_TELEMETRY": "0"}
    telemetry.switch_off(environment)
    assert environment["ORT_DISABLE_TELEMETRY"] == "0"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environment["WANDB_ERROR_REPORTING"] == "false"


@pytest.mark.parametrize(
    ("value", "off"), [("1", True), ("TRUE", True), ("0", False), ("", False), ("2", False)]
)
def test_doctor_says_what_the_runtime_does(value: str, off: bool) -> None:
    """The sentence of ``doctor`` follows what ONNX Runtime makes of a value, as was tried out with 1.32."""
    environment = {"ORT_DISABLE_TELEMETRY": value}
    telemetry.switch_off(environment)
    sentence = telemetry.note(environment)
    assert sentence.startswith("telemetry is off") is off
    assert ("ORT_DISABLE_TELEMETRY" in sentence) is not off
