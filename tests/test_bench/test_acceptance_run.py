"""The coordinator: order, time limit, going on after any stop, and what the record says of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import UserError
from studies.gpu import __main__ as command
from studies.gpu import run, state
from studies.gpu.plan import FULL, TINY, Cell
from studies.gpu.state import Entry, State

ROOT = Path(__file__).resolve().parent.parent.parent


class Cells:
    """Stands for the workers: remembers what was asked, answers as told."""

    def __init__(self, **answers: dict[str, Any]) -> None:
        self.asked: list[str] = []
        self.answers = {name.replace("__", "/"): answer for name, answer in answers.items()}

    def __call__(self, cell: Cell, job: run.Job, timeout: float, log: Any) -> dict[str, Any]:
        self.asked.append(cell.id)
        return self.answers.get(cell.id, {"status": "done", "result": {"cell": cell.id}})


def job(out: Path, minutes: float = 600.0, **changes: Any) -> run.Job:
    """A run on the CPU, with no artifacts."""
    return run.Job(replace(TINY, **changes), None, out, "cpu", minutes)


def read(out: Path) -> dict[str, Any]:
    """The record."""
    found: dict[str, Any] = json.loads((out / run.RECORD).read_text())
    return found


def test_cells_run_once_each_in_the_order_of_the_plan(tmp_path: Path) -> None:
    """A second call finds nothing to do and leaves the same figures."""
    cells, lines = Cells(), []
    assert run.run(job(tmp_path), lines.append, cells) == 0
    assert cells.asked == [cell.id for cell in TINY.cells()]
    assert len(set(cells.asked)) == len(cells.asked)
    first = read(tmp_path)["cells"]
    again = Cells()
    assert run.run(job(tmp_path), lines.append, again) == 0
    assert again.asked == []
    assert read(tmp_path)["cells"] == first
    assert len(read(tmp_path)["calls"]) == 2


def test_headline_comes_before_the_grid_and_everything_of_the_issue_is_there() -> None:
    """The full plan has every shape in every backend, the hypotheses' shapes first."""
    cells = FULL.cells()
    ids = [cell.id for cell in cells]
    assert ids[:2] == ["facts", "context"]
    kinds = {cell.kind for cell in cells}
    assert kinds == {"facts", "context", "shapes", "accuracy", "kernels", "depth", "widths"}
    last_headline = max(i for i, name in enumerate(ids) if name.startswith("headline/"))
    assert last_headline < min(i for i, name in enumerate(ids) if name.startswith("grid/"))
    for model in ("bert-base", "minilm-l6"):
        for lane in ("eager-fp32", "eager-fp16", "sdpa-fp16", "compiled-fp16", "ort-fp32", "ort-fp16",
                     "trt-fp16", "trt-int8"):  # fmt: skip
            shapes = {
                tuple(shape)
                for cell in cells
                if cell.id in (f"headline/{model}/{lane}", f"grid/{model}/{lane}")
                for shape in cell.params["shapes"]
            }
            assert shapes == {(b, s) for b in (1, 8, 32) for s in (32, 128, 384)}, (model, lane)


def test_a_cell_that_does_not_fit_is_left_and_said_so(tmp_path: Path) -> None:
    """With no time nothing starts; the exit code asks for another call; reasons tell seconds."""
    cells, lines = Cells(), []
    assert run.run(job(tmp_path, minutes=0.0), lines.append, cells) == 4
    assert cells.asked == []
    assert "about" in read(tmp_path)["not_done"]["facts"]["reason"]
    assert any("run the same command again" in line for line in lines)


def test_short_cells_still_run_where_a_long_one_does_not_fit(tmp_path: Path) -> None:
    """Estimates decide cell by cell: time that a long one cannot use is not lost."""
    cells = Cells()
    minutes = (run._RESERVE_SECONDS + 3.0) / 60
    run.run(job(tmp_path, minutes=minutes), lambda line: None, cells)
    wanted = {cell.id for cell in TINY.cells() if cell.seconds < 2.5}
    assert wanted <= set(cells.asked)
    assert set(cells.asked) < {cell.id for cell in TINY.cells()}


def test_estimates_learn_from_cells_of_the_same_kind() -> None:
    """Half as fast as thought doubles the estimates; a cut-off cell is given at least its time."""
    cells = [Cell("a", "shapes", "torch", seconds=10), Cell("b", "shapes", "torch", seconds=20)]
    found = State({}, cells={"a": Entry("done", seconds=20.0)})
    assert run.estimate(cells[1], found, cells) == 40
    found.cells["b"] = Entry("pending", seconds=90.0)
    assert run.estimate(cells[1], found, cells) == 90
    found = State({}, cells={"a": Entry("done", seconds=10_000.0)})
    assert run.estimate(cells[1], found, cells) == 20 * run._PACE_LIMITS[1]


def test_what_is_missing_is_asked_once_and_looked_for_again(tmp_path: Path) -> None:
    """The second cell of a missing backend is skipped unasked; the next call looks again."""
    gone = {"status": "skipped", "reason": "no such runtime"}
    cells = Cells(headline__deep__ort_fp16={})
    cells.answers = {"headline/deep/ort-fp16": gone}
    assert run.run(job(tmp_path), lambda line: None, cells) == 0
    assert "headline/shallow/ort-fp16" not in cells.asked
    reasons = read(tmp_path)["not_done"]
    assert reasons["grid/deep/ort-fp16"] == {"status": "skipped", "reason": "no such runtime"}
    again = Cells()
    run.run(job(tmp_path), lambda line: None, again)
    assert again.asked[0] == "headline/deep/ort-fp16"
    assert read(tmp_path)["not_done"] == {}


def test_a_failed_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is told with its reason, and the exit code is that of a bug."""
    cells = Cells()
    cells.answers = {"context": {"status": "failed", "reason": "RuntimeError: broken"}}
    assert run.run(job(tmp_path), lambda line: None, cells) == 1
    assert read(tmp_path)["not_done"]["context"]["reason"] == "RuntimeError: broken"
    assert read(tmp_path)["counts"]["failed"] == 1


def test_a_cell_that_never_fits_is_given_up(tmp_path: Path) -> None:
    """After three times cut off it has failed, with the reason of the last."""
    cut = {"status": "pending", "reason": "cut off by the time limit after 1 s"}
    codes = []
    for _ in range(3):
        cells = Cells()
        cells.answers = {"context": cut}
        codes.append(run.run(job(tmp_path), lambda line: None, cells))
    assert codes == [4, 4, 1]
    assert read(tmp_path)["not_done"]["context"]["reason"].startswith("given up after 3 tries: cut off")


def test_a_worker_is_cut_off_at_its_time(tmp_path: Path) -> None:
    """A real worker that needs longer is ended, and nothing of it is left running."""
    cell = TINY.cells()[2]
    with (tmp_path / "log").open("w") as log:
        began = time.monotonic()
        told = run.execute(cell, job(tmp_path), 0.05, log)
    assert told["status"] == "pending"
    assert "cut off" in told["reason"]
    assert time.monotonic() - began < 30


def test_two_calls_on_one_folder_do_not_mix(tmp_path: Path) -> None:
    """The second is refused while the first works."""
    with run._alone(tmp_path), pytest.raises(UserError, match="another run is writing"), run._alone(tmp_path):
        pass


@pytest.mark.timeout(240)
def test_going_on_after_sigkill(tmp_path: Path) -> None:
    """The killed cell runs again, finished ones do not, and the orphaned worker ends itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "studies.gpu", "--device", "cpu", "--shapes", "tiny", "--minutes", "60",
         "--out", str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    path = tmp_path / run.STATE
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if path.exists() and json.loads(path.read_text())["cells"].get("context", {}).get("status") == "done":
            break
        time.sleep(0.05)
    workers: list[int] = []
    while time.monotonic() < deadline and not workers:
        # The state says that a cell runs a moment before its process is there.
        if "running" in {one["status"] for one in json.loads(path.read_text())["cells"].values()}:
            workers = _children(process.pid)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert workers, "no worker was at work"
    while any(_alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in workers)
    before = {name: one["status"] for name, one in json.loads(path.read_text())["cells"].items()}
    done = {name for name, status in before.items() if status == "done"}
    (killed,) = [name for name, status in before.items() if status == "running"]
    cells = Cells()
    assert run.run(run.Job(TINY, None, tmp_path, "cpu", 600.0), lambda line: None, cells) == 0
    assert cells.asked[0] == killed
    assert not done & set(cells.asked)
    assert read(tmp_path)["cells"]["facts"]["python"]


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


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
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.main(["--out", str(tmp_path / "out")]) == 2
    assert "--device cpu runs the same cells" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_groups_are_named_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """``trt86`` is what its Python can do; a wrong name lists the right ones."""
    assert command.groups(None) == run.GROUPS
    assert command.groups("trt86") == ("facts", "tensorrt")
    assert command.groups("ort,torch") == ("facts", "torch", "ort")
    assert command.main(["--out", "x", "--only", "trt"]) == 2
    assert "Known: facts, ort, tensorrt, torch, trt86" in capsys.readouterr().err


def test_the_list_shows_every_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a cell, with its estimate."""
    assert command.main(["--out", "x", "--list", "--shapes", "tiny"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(TINY.cells())


def test_the_pid_of_a_killed_write_leaves_no_state(tmp_path: Path) -> None:
    """What a killed write leaves beside the state is not read as one."""
    (tmp_path / f".state.json.{os.getpid() + 1}").write_text("{")
    assert state.load(tmp_path / "state.json", {"a": 1}).cells == {}
