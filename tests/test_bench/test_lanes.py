"""Lanes: processes that work in turns, rest without spinning, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tiny_bench

from bench.lanes.lane import Lane, LaneSpec, open_lanes
from compress.artifacts.artifact import Artifact
from compress.errors import UserError

FEED = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), dtype=np.int64)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed folder that the fake runtime opens."""
    return tiny_bench.fake_artifact(tmp_path_factory.mktemp("lanes") / "artifact")


def spec(artifact: Artifact, name: str = "one", **options: Any) -> LaneSpec:
    """A lane of the fake runtime with some options."""
    return LaneSpec(name=name, artifact=artifact, runtime=tiny_bench.FAKE, threads=1, options=options)


@pytest.fixture(scope="module")
def lane(artifact: Artifact) -> Iterator[Lane]:
    """An open lane whose library prints."""
    with Lane(spec(artifact, say="hello from a chatty library\n")) as opened:
        yield opened


def children() -> set[int]:
    """Processes of this one that still run."""
    return {child.pid for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE}


def test_a_lane_answers_although_its_library_prints(lane: Lane) -> None:
    """What a runtime writes on stdout does not get into the protocol; outputs are those of the runner."""
    (outputs,) = lane.infer([FEED])
    np.testing.assert_array_equal(outputs["logits"], [[0.0, 1.0]])
    assert lane.opened.provenance["provider"] == "fake"


def test_a_lane_is_another_process_with_fixed_threads(lane: Lane) -> None:
    """The runner lives in a child process whose thread variables say what the spec says."""
    assert lane.opened.pid != os.getpid()
    assert lane.opened.pid in children()
    assert lane.opened.provenance["threads"] == "1"


def test_a_turn_times_each_run_of_the_order(lane: Lane) -> None:
    """A turn gives one positive time a run; the settling runs are not among them."""
    lane.keep("turns", [FEED, FEED])
    times = lane.turn("turns", [0, 1, 1], settle=[0, 0])
    lane.drop("turns")
    assert times.shape == (3,)
    assert times.dtype == np.int64
    assert (times > 0).all()


def test_throughput_counts_rows(lane: Lane) -> None:
    """A flow reports rows of whole batches and a time of at least what was asked."""
    pair = {name: np.concatenate([array, array]) for name, array in FEED.items()}
    lane.keep("flow", [pair])
    rows, seconds = lane.flow("flow", 0.01)
    lane.drop("flow")
    assert rows >= 2
    assert rows % 2 == 0
    assert seconds >= 0.01


def test_an_idle_lane_takes_no_cpu_time(lane: Lane) -> None:
    """Between turns the process blocks on its pipe: its CPU clock stands still."""
    process = psutil.Process(lane.opened.pid)
    lane.keep("idle", [FEED])
    lane.turn("idle", [0] * 8)
    before = process.cpu_times()
    time.sleep(0.4)
    after = process.cpu_times()
    lane.drop("idle")
    assert (after.user + after.system) - (before.user + before.system) <= 0.02


def test_memory_of_the_process_is_what_the_os_sees(lane: Lane) -> None:
    """Peak is at least what is resident, near psutil's figure; without its model a lane holds less."""
    usage = lane.memory()
    rss = psutil.Process(lane.opened.pid).memory_info().rss
    assert usage.peak >= usage.resident * 0.99
    assert usage.resident == pytest.approx(rss, rel=0.1)
    assert lane.empty_bytes() <= usage.peak
    assert lane.infer([FEED])[0]["logits"].shape == (1, 2)


def test_feeds_are_the_inputs_that_the_model_takes(lane: Lane) -> None:
    """Arrays that the model does not take are left out; a missing one is an error with the candidate."""
    assert list(lane.feed({**FEED, "token_type_ids": FEED["input_ids"]})) == ["input_ids", "attention_mask"]
    with pytest.raises(
        UserError, match=r"candidate 'one' takes input_ids, attention_mask; the rows give pixels"
    ):
        lane.feed({"pixels": np.zeros(1)})


def test_a_feed_beyond_the_limits_names_the_candidate(lane: Lane) -> None:
    """The runner's refusal comes through as a sentence with the candidate's name, and the lane lives on."""
    long = {name: np.ones((1, 65), dtype=np.int64) for name in FEED}
    with pytest.raises(
        UserError, match=r"candidate 'one': input 'input_ids' has size 65 on axis 1; allowed: 1 to 64"
    ):
        lane.infer([long])
    assert lane.infer([FEED])[0]["logits"].shape == (1, 2)


def test_a_killed_lane_is_named_and_nothing_is_left(artifact: Artifact) -> None:
    """A process that is killed in its work gives one sentence with candidate and signal; all lanes end."""
    before = children()
    specs = [spec(artifact, "steady"), spec(artifact, "doomed", die_at=3)]

    def work() -> None:
        with open_lanes(specs) as lanes:
            for lane in lanes:
                lane.keep("k", [FEED])
            for lane in lanes:
                lane.turn("k", [0] * 8)

    with pytest.raises(UserError, match=r"candidate 'doomed' .* ended by SIGKILL \(often: out of memory\)"):
        work()
    assert children() == before


def test_a_lane_that_was_killed_between_turns_is_named(artifact: Artifact) -> None:
    """The same where the process is gone before it is asked."""
    with Lane(spec(artifact)) as opened:
        os.kill(opened.opened.pid, signal.SIGTERM)
        while psutil.Process(opened.opened.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        with pytest.raises(UserError, match=r"candidate 'one' .* ended by SIGTERM"):
            opened.infer([FEED])


def test_an_error_in_the_runner_carries_its_traceback(artifact: Artifact) -> None:
    """A bug in a runtime is a bug, with the traceback of the other process, and ends its lane."""
    before = children()
    with pytest.raises(RuntimeError, match=r"(?s)candidate 'one' \(fake_runtime:Runner\) failed.*planted"):
        Lane(spec(artifact, fail="open")).__enter__()
    with pytest.raises(RuntimeError, match="ZeroDivisionError"), Lane(spec(artifact, fail="run")) as opened:
        opened.infer([FEED])
    assert children() == before


def test_a_runtime_that_cannot_run_here_says_why(artifact: Artifact) -> None:
    """The runtime's own reason comes through, with the candidate's name."""
    lane_spec = LaneSpec(name="far", artifact=artifact, runtime=tiny_bench.FAKE, device="cuda:7")
    with pytest.raises(UserError, match="candidate 'far': there is no seventh device here"), Lane(lane_spec):
        pass


def test_an_unknown_option_is_refused(artifact: Artifact) -> None:
    """An option that the runtime does not have is refused before anything runs."""
    with pytest.raises(UserError, match="candidate 'one': runtime 'fake-runtime' has no option speed"):
        Lane(spec(artifact, speed=3)).__enter__()


def test_ctrl_c_ends_every_lane(artifact: Artifact) -> None:
    """An interrupt in the coordinator leaves no process behind."""
    before = children()

    def work() -> None:
        with open_lanes([spec(artifact, "a"), spec(artifact, "b")]) as lanes:
            assert len(children() - before) == 2
            # In a session of their own: a terminal's Ctrl-C does not reach them.
            assert all(os.getpgid(lane.opened.pid) != os.getpgrp() for lane in lanes)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert children() == before


def test_a_lane_ends_when_its_coordinator_is_killed(artifact: Artifact, tmp_path: Path) -> None:
    """A coordinator that is killed outright takes its lanes with it: their pipe ends."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from bench.lanes.lane import Lane, LaneSpec; from compress.artifacts.artifact import Artifact\n"
        f"spec = LaneSpec('x', Artifact.open(Path({str(artifact.path)!r})), {tiny_bench.FAKE!r})\n"
        "with Lane(spec) as lane:\n"
        "    print(lane.opened.pid, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    coordinator = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment, cwd=tmp_path, text=True
    )
    try:
        assert coordinator.stdout is not None
        pid = int(coordinator.stdout.readline())
        assert psutil.pid_exists(pid)
    finally:
        coordinator.kill()
        coordinator.communicate()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the lane outlived its coordinator"
        time.sleep(0.05)


def test_a_closed_lane_is_not_asked(artifact: Artifact) -> None:
    """Using a lane outside its block is a bug that says so."""
    with pytest.raises(RuntimeError, match="lane 'one' is not open"):
        Lane(spec(artifact)).memory()
    with pytest.raises(RuntimeError, match="lane 'one' is not open"):
        _ = Lane(spec(artifact)).opened
