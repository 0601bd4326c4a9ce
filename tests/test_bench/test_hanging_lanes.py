"""Lanes that never answer are ended and named; lanes whose coordinator was killed end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import tiny
import tiny_bench

from bench.lanes import patience
from bench.lanes.lane import Lane, LaneSpec
from compress import children
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from paredown import app

HANGING = "hanging_runtime:Runner"
DRIVER = Path(__file__).parent.parent / "orphan_driver.py"
FEED = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), dtype=np.int64)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed folder that the fake runtime opens."""
    return tiny_bench.fake_artifact(tmp_path_factory.mktemp("hanging") / "artifact")


@pytest.fixture
def left() -> Callable[[], list[int]]:
    """Gives the children that began since and still live a moment later."""
    before = {child.pid for child in psutil.Process().children()}

    def _left() -> list[int]:
        deadline = time.monotonic() + 5
        while True:
            living = [
                child.pid
                for child in psutil.Process().children()
                if child.pid not in before and child.status() != psutil.STATUS_ZOMBIE
            ]
            if not living or time.monotonic() > deadline:
                return living
            time.sleep(0.05)

    return _left


def spec(artifact: Artifact, at: str) -> LaneSpec:
    """A lane that hangs at a place."""
    return LaneSpec(name="slow", artifact=artifact, runtime=HANGING, options={"at": at})


def test_a_candidate_that_never_opens_is_named(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, left: Callable[[], list[int]]
) -> None:
    """The sentence has candidate, runtime, what it did, for how long, and what to do; nothing is left."""
    monkeypatch.setattr(patience, "_OPEN_SECONDS", 3.0)
    with pytest.raises(UserError) as refused, Lane(spec(artifact, "open")):
        pass
    message = str(refused.value)
    for part in ("'slow'", HANGING, "open the artifact", "for 3 s", "leave it out", "PAREDOWN_PATIENCE=4"):
        assert part in message
    assert not left()


def test_a_turn_that_never_ends_is_named(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, left: Callable[[], list[int]]
) -> None:
    """A run that hangs ends the lane after the limit of its turn."""
    monkeypatch.setattr(patience, "_BASE_SECONDS", 1.0)
    monkeypatch.setattr(patience, "_RUN_SECONDS", 0.5)
    with Lane(spec(artifact, "run")) as lane:
        lane.keep("feeds", [FEED])
        with pytest.raises(UserError, match=r"asked to time 2 runs and gave no answer for 2 s"):
            lane.turn("feeds", [0, 0])
    assert not left()


def test_a_worker_that_never_comes_up_ends_the_command(
    tmp_path: Path,
    text_data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    left: Callable[[], list[int]],
) -> None:
    """Where the address space is limited a library spins in its start: the command ends with exit code 2."""
    stand_in = [sys.executable, "-c", "import time; time.sleep(3600)"]
    monkeypatch.setattr(children, "command", lambda *_: stand_in)
    monkeypatch.setattr(patience, "_START_SECONDS", 2.0)
    model = tiny.text_model(tmp_path / "model")
    report = tmp_path / "report.json"
    with pytest.raises(SystemExit) as ended:
        app.main(["bench", str(model), "--data", str(text_data), "--json", str(report), "--threads", "1"])
    captured = capsys.readouterr()
    assert ended.value.code == 2, captured.err
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert last.startswith(
        "paredown: the process of candidate 'model' (pytorch) was asked to start and gave no"
    )
    assert not report.exists()
    assert not left()


def test_limits_grow_with_the_work_and_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No slow work is cut: ten batches of 32 x 512 have most of an hour; a planned time is waited for."""
    assert patience.work("turn", {"order": [0] * 8, "settle": [0, 0]}, 0).seconds >= 3000
    assert patience.work("flow", {"seconds": 3600.0}, 0).seconds > 3600
    assert patience.work("open", {}, 0).seconds >= 600
    plain = patience.work("infer", {}, 64).seconds
    monkeypatch.setenv(patience.FACTOR, "4")
    assert patience.work("infer", {}, 64).seconds == 4 * plain


@pytest.mark.parametrize("value", ["nan", "0", "-1", "soon", "inf"])
def test_patience_is_a_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused by its name."""
    monkeypatch.setenv(patience.FACTOR, value)
    with pytest.raises(UserError, match="PAREDOWN_PATIENCE"):
        patience.factor()


@pytest.mark.parametrize(
    ("place", "moments"),
    [("open", ("0.0", "0.02", "0.05", "0.1", "0.2", "0.4", "1.5")), ("run", ("2.5",))],
)
def test_no_lane_outlives_a_coordinator_killed_at_any_moment(
    artifact: Artifact, place: str, moments: tuple[str, ...]
) -> None:
    """SIGKILL while a lane starts, imports, opens or works: no process is left a moment later."""
    process = subprocess.run(
        [sys.executable, str(DRIVER), str(artifact.path), HANGING, place, *moments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == str([[] for _ in moments])


def test_a_process_without_its_parent_does_not_start() -> None:
    """A child that comes up after its parent is gone sees another parent's id, and ends before it imports."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    line = children.command("bench.lanes.worker")
    line[line.index(str(os.getpid()))] = str(gone.pid)
    process = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    assert process.returncode == children.ORPHANED
