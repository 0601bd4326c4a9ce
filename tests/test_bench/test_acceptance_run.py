"""The coordinator: order, time limit, going on after any stop, and what the record says of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_deploy

from bench.record import document
from bench.record.model import Measurement, Report
from compress.errors import UserError
from studies.gpu import __main__ as command
from studies.gpu import run, state
from studies.gpu.plan import GROUPS, TINY, Cell
from studies.gpu.state import Entry, State

ROOT = Path(__file__).resolve().parent.parent.parent
UNAVAILABLE = run.unavailable


class Commands:
    """Stands for the product: remembers what was asked, answers as told, and all else as a cell wishes."""

    def __init__(self, **answers: run.Answer) -> None:
        self.asked: list[str] = []
        self.cells = {cell.id.replace("/", "-"): cell for cell in TINY.cells("cpu")}
        self.answers = {name.replace("__", "/").replace("_", "-"): one for name, one in answers.items()}

    def __call__(self, words: list[str], timeout: float | None, log: Any) -> run.Answer:
        cell = self.cells["facts" if words[0] == "doctor" else Path(words[-1]).stem]
        self.asked.append(cell.id)
        if cell.id in self.answers:
            return self.answers[cell.id]
        if cell.refusal is not None:
            return run.Answer(2, f"paredown: {cell.refusal}")
        if words[0] == "bench":
            Path(words[-1]).write_text(document.to_json(report(cell)))
        return run.Answer(0, "", '{"machine": {"python": "3.12"}}')


def report(cell: Cell, *without: str) -> Report:
    """A made-up report with the figures that a cell expects, but for some metrics."""
    return Report(
        title="",
        task="text-classification",
        candidates=(),
        baseline="",
        measurements=tuple(
            Measurement(
                probe="p",
                candidate=one.candidate,
                metric=one.metric,
                value=1.0,
                unit="ms",
                better="lower",
                conditions=dict(one.conditions),
            )
            for one in cell.expects
            if one.metric not in without
        ),
        data={},
        environment={},
        config={},
        seed=0,
        created="",
    )


@pytest.fixture(autouse=True)
def _no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtimes are as on a CPU, without asking each: TensorRT is not there."""
    reasons = {"tensorrt": "TensorRT engines run on NVIDIA GPUs"}
    monkeypatch.setattr(run, "unavailable", lambda group, device: reasons.get(group))


@pytest.fixture(autouse=True)
def _coherent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up reports have figures of no candidate; only what is in them matters here."""
    monkeypatch.setattr(document.coherence, "check", lambda found, where: None)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Folders as ``--prepare`` leaves them, with nothing in them."""
    folder = tmp_path / "artifacts"
    (folder / "rows" / "data").mkdir(parents=True)
    for cell in TINY.cells("cpu"):
        for place in cell.needs:
            if not place.startswith("{engines}"):
                Path(place.format(artifacts=folder)).mkdir(parents=True, exist_ok=True)
    return folder


def job(artifacts: Path, out: Path, minutes: float = 600.0, **changes: Any) -> run.Job:
    """A run on the CPU."""
    return run.Job(replace(TINY, **changes), artifacts, out, "cpu", minutes)


def read(out: Path) -> dict[str, Any]:
    """The record."""
    record: dict[str, Any] = json.loads((out / run.RECORD).read_text())
    return record


RUNNABLE = [cell.id for cell in TINY.cells("cpu") if cell.group != "tensorrt"]


def test_cells_run_once_each_in_the_order_of_the_plan(artifacts: Path, tmp_path: Path) -> None:
    """A second call finds nothing to do and leaves the same figures."""
    commands, lines = Commands(), []
    out = tmp_path / "out"
    assert run.run(job(artifacts, out), lines.append, commands) == 0, lines
    assert commands.asked == RUNNABLE
    first = read(out)["cells"]
    again = Commands()
    assert run.run(job(artifacts, out), lines.append, again) == 0
    assert again.asked == []
    assert read(out)["cells"] == first
    assert len(read(out)["calls"]) == 2
    assert first["headline/deep/ort-fp16"]["command"].startswith("paredown bench eager-fp32={artifacts}/deep")


def test_a_cell_that_does_not_fit_is_left_and_said_so(artifacts: Path, tmp_path: Path) -> None:
    """With no time nothing starts; the exit code asks for another call; reasons tell seconds."""
    commands, lines = Commands(), []
    assert run.run(job(artifacts, tmp_path / "out", minutes=0.0), lines.append, commands) == 4
    assert commands.asked == []
    assert "about" in read(tmp_path / "out")["not_done"]["facts"]["reason"]
    assert any("run the same command again" in line for line in lines)


def test_short_cells_still_run_where_a_long_one_does_not_fit(artifacts: Path, tmp_path: Path) -> None:
    """Estimates decide cell by cell: time that a long one cannot use is not lost."""
    commands = Commands()
    minutes = (run._RESERVE_SECONDS + 6.0) / 60
    run.run(job(artifacts, tmp_path / "out", minutes=minutes), lambda line: None, commands)
    expected = {cell.id for cell in TINY.cells("cpu") if cell.seconds < 5 and cell.group != "tensorrt"}
    assert expected
    assert expected <= set(commands.asked)
    assert set(commands.asked) < set(RUNNABLE)


def test_estimates_learn_from_cells_of_the_same_kind() -> None:
    """Half as fast as thought doubles the estimates; a cut-off cell is given at least its time."""
    cells = [Cell("grid/a", "torch", (), seconds=10), Cell("grid/b", "torch", (), seconds=20)]
    progress = State({}, cells={"grid/a": Entry("done", seconds=20.0)})
    assert run.estimate(cells[1], progress, cells) == 40
    progress.cells["grid/b"] = Entry("pending", seconds=90.0)
    assert run.estimate(cells[1], progress, cells) == 90
    progress = State({}, cells={"grid/a": Entry("done", seconds=10_000.0)})
    assert run.estimate(cells[1], progress, cells) == 20 * run._PACE_LIMITS[1]


def test_what_is_missing_is_said_and_looked_for_again(artifacts: Path, tmp_path: Path) -> None:
    """A runtime, the fine-tuned model, an artifact: each in words; the next call looks again."""
    shutil.rmtree(artifacts / "trained")
    (artifacts / "deep" / "onnx").rmdir()
    assert run.run(job(artifacts, tmp_path / "out"), lambda line: None, Commands()) == 0
    reasons = {name: one["reason"] for name, one in read(tmp_path / "out")["not_done"].items()}
    assert reasons["headline/deep/trt-fp16"] == "TensorRT engines run on NVIDIA GPUs"
    assert reasons["trained/ort-fp16"].startswith("no fine-tuned model was prepared (--prepare --model DIR")
    assert reasons["headline/deep/ort-fp32"] == f"{artifacts}/deep/onnx is not there: go on with --prepare"
    (artifacts / "deep" / "onnx").mkdir()
    again = Commands()
    run.run(job(artifacts, tmp_path / "out"), lambda line: None, again)
    assert again.asked == ["headline/deep/ort-fp32", "grid/deep/ort-fp32"]


def test_an_engine_that_was_not_built_is_opened_by_nobody(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cells that open it are skipped, and say which engine is not there."""
    monkeypatch.setattr(run, "unavailable", lambda group, device: None)
    at_work = run._Call(job(artifacts, tmp_path), State({}), lambda line: None, Commands())
    cell = next(each for each in at_work.cells if each.id == "headline/deep/trt-int8")
    assert at_work.absent(cell) == "the engine deep-onnx-int8 was not built"
    (tmp_path / "engines" / "deep-onnx-int8").mkdir(parents=True)
    assert at_work.absent(cell) is None


def test_the_runtimes_say_themselves_why_they_cannot_run() -> None:
    """In the product's words; on a CPU PyTorch and ONNX Runtime can."""
    assert UNAVAILABLE("facts", "cuda") is None
    assert UNAVAILABLE("torch", "cpu") is None
    assert UNAVAILABLE("ort", "cpu") is None
    assert "run on NVIDIA GPUs" in str(UNAVAILABLE("tensorrt", "cpu"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (run.Answer(1, "ValueError: planted"), "exit code 1: ValueError: planted; see the log"),
        (run.Answer(2, "paredown: no such thing"), "exit code 2: paredown: no such thing; see the log"),
    ],
)
def test_a_failed_cell_does_not_stop_the_others(
    artifacts: Path, tmp_path: Path, answer: run.Answer, reason: str
) -> None:
    """It is told with its reason, and the exit code is that of a bug."""
    commands = Commands(headline__deep__ort_fp16=answer)
    assert run.run(job(artifacts, tmp_path / "out"), lambda line: None, commands) == 1
    assert commands.asked == RUNNABLE
    assert read(tmp_path / "out")["not_done"]["headline/deep/ort-fp16"] == {
        "status": "failed",
        "reason": reason,
    }
    assert read(tmp_path / "out")["counts"]["failed"] == 1


def test_a_report_without_a_figure_of_the_cell_is_a_failure(tmp_path: Path) -> None:
    """A green run proves that everything was measured: what is lacking is named."""
    cell = next(each for each in TINY.cells("cuda") if each.id == "headline/deep/sdpa-fp16")
    path = tmp_path / "report.json"
    path.write_text(document.to_json(report(cell)))
    assert run.judge(cell, run.Answer(0), path)["status"] == "done"
    path.write_text(document.to_json(report(cell, "enqueue_p50_ms")))
    told = run.judge(cell, run.Answer(0), path)
    assert told["status"] == "failed"
    assert "lacks enqueue_p50_ms of eager-fp32 at batch_size 1, length 8, graph no" in told["reason"]


def test_a_command_that_was_to_refuse_and_runs_is_a_failure(tmp_path: Path) -> None:
    """So is one that refuses for another reason; the right refusal is done."""
    cell = next(each for each in TINY.cells("cuda") if each.refusal is not None)
    told = [
        run.judge(cell, answer, tmp_path)
        for answer in (
            run.Answer(0),
            run.Answer(2, "paredown: no"),
            run.Answer(2, f"paredown: {cell.refusal}."),
        )
    ]
    assert [one["status"] for one in told] == ["failed", "failed", "done"]
    assert "it was to refuse with 'CUDA provider has no INT8 kernels', and exit code 0" in told[0]["reason"]


def test_a_cell_that_never_fits_is_given_up(artifacts: Path, tmp_path: Path) -> None:
    """After three times cut off it has failed, with the reason of the last."""
    codes = []
    for _ in range(3):
        commands = Commands(facts=run.Answer(None))
        codes.append(run.run(job(artifacts, tmp_path / "out"), lambda line: None, commands))
    assert codes == [4, 4, 1]
    reason = read(tmp_path / "out")["not_done"]["facts"]["reason"]
    assert reason == "given up after 3 tries: cut off by the time limit"


def test_a_command_is_cut_off_at_its_time(tmp_path: Path) -> None:
    """A real command that needs longer is ended, and nothing of it is left running."""
    with (tmp_path / "log").open("w") as log:
        began = time.monotonic()
        answer = run.execute(["doctor"], 0.05, log)
    assert answer.code is None
    assert run.judge(TINY.cells("cpu")[0], answer, tmp_path)["status"] == "pending"
    assert time.monotonic() - began < 60
    assert (tmp_path / "log").read_text() == "\n$ paredown doctor\n"


def test_a_refusal_of_the_product_is_read_from_its_last_line(tmp_path: Path) -> None:
    """A real command: exit code and sentence as the command line gives them; its words are in the log."""
    with (tmp_path / "log").open("w") as log:
        answer = run.execute(["bench", "nowhere", "--data", "none", "--runtime", "x"], 300, log)
    assert answer.code == 2
    assert answer.last.startswith("paredown: --runtime takes NAME=runtime")
    assert answer.last in (tmp_path / "log").read_text()


def test_two_calls_on_one_folder_do_not_mix(tmp_path: Path) -> None:
    """The second is refused while the first works."""
    with run._alone(tmp_path), pytest.raises(UserError, match="another run is writing"), run._alone(tmp_path):
        pass


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_going_on_after_sigkill(artifacts: Path, tmp_path: Path) -> None:
    """The killed cell runs again, and its command ends itself with the coordinator."""
    process = subprocess.Popen(
        [sys.executable, "-m", "studies.gpu", "--device", "cpu", "--plan", "tiny", "--minutes", "60",
         "--artifacts", str(artifacts), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    path = tmp_path / "out" / run.STATE
    deadline = time.monotonic() + 500
    workers: list[int] = []
    while time.monotonic() < deadline and not workers:
        # The state says that a cell runs a moment before its process is there.
        if path.exists() and "running" in {entry["status"] for entry in _cells(path).values()}:
            workers = _children(process.pid)
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert workers, "no command was at work"
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)
    (killed,) = [name for name, entry in _cells(path).items() if entry["status"] == "running"]
    commands = Commands()
    assert run.run(job(artifacts, tmp_path / "out"), lambda line: None, commands) == 0
    assert commands.asked[0] == killed


def _cells(path: Path) -> dict[str, Any]:
    cells: dict[str, Any] = json.loads(path.read_text())["cells"]
    return cells


def _children(pid: int) -> list[int]:
    numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(number) for number in numbers]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    """Another plan, device or machine: the sentence says what differs and what to do."""
    path = tmp_path / "state.json"
    state.save(State({"gpu": "one", "plan": "full"}), path)
    with pytest.raises(UserError, match=r"gpu: 'one' there, 'other' here.*--out"):
        state.load(path, {"gpu": "other", "plan": "full"})


def test_artifacts_that_were_made_again_are_the_same(tmp_path: Path) -> None:
    """By their content: a fresh machine that makes them anew goes on; other weights are another run."""
    found = []
    for name, hidden in (("a", 32), ("b", 32), ("c", 64)):
        folder = tmp_path / name
        tiny_deploy.text_artifact(folder / "deep" / "model", hidden=hidden)
        found.append(run.identify(job(folder, tmp_path))["artifacts"])
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("text", ["{", '{"schema": 1}', '{"schema": 9, "identity": {}}', "[]"])
def test_a_damaged_state_is_named(tmp_path: Path, text: str) -> None:
    """No traceback: which file, and what to do."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"state\.json"):
        state.load(path, {})


def test_writing_json_replaces_whole_files(tmp_path: Path) -> None:
    """A value that cannot be written leaves the old file as it was; NaN is no JSON."""
    path = tmp_path / "state.json"
    state.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        state.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


def test_without_a_gpu_cuda_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, and the way that works here."""
    monkeypatch.setattr(run.gpu, "describe", lambda: None)
    assert command.main(["--out", str(tmp_path / "out")]) == 2
    assert "--device cpu runs the same cells" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_artifacts_the_command_that_makes_them_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2; nothing is left behind. A model without its data is refused as well."""
    words = ["--artifacts", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert command.main(words) == 2
    assert f"python -m studies.gpu --prepare --out {tmp_path / 'none'}" in capsys.readouterr().err
    assert command.main(["--prepare", "--out", str(tmp_path / "out"), "--model", str(tmp_path)]) == 2
    assert "--model and --data belong together" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_command_of_preparing_that_fails_is_told(tmp_path: Path) -> None:
    """Its words and the last line of what it said."""
    with pytest.raises(UserError, match=r"paredown export .*deep/model .* ended with 2: paredown: no"):
        run.make(
            job(tmp_path, tmp_path), None, lambda line: None, lambda *given: run.Answer(2, "paredown: no")
        )


def test_groups_are_named_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The facts are always among them; a wrong name lists the right ones."""
    assert command.groups(None) == GROUPS
    assert command.groups("ort,torch") == ("facts", "torch", "ort")
    assert command.main(["--out", "x", "--only", "trt"]) == 2
    assert "Known: facts, ort, tensorrt, torch" in capsys.readouterr().err


def test_the_pid_of_a_killed_write_leaves_no_state(tmp_path: Path) -> None:
    """What a killed write leaves beside the state is not read as one."""
    (tmp_path / f".state.json.{os.getpid() + 1}").write_text("{")
    assert state.load(tmp_path / "state.json", {"a": 1}).cells == {}
