"""The study of wrong verdicts: resumable, counted apart, with the product's own lanes and rule."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from bench.record.model import Report
from compress.artifacts.store import Store
from compress.errors import UserError
from compress.pipeline.building import Built
from studies import false_alarms


def row(busy: int, percent: int, number: int, status: str, ratio: float = 1.0) -> dict[str, Any]:
    """A line of the state file."""
    return {
        "busy": busy,
        "percent": percent,
        "number": number,
        "pair": number // false_alarms.PAIR,
        "seed": 0,
        "code": "x",
        "status": status,
        "ratio": ratio,
        "low": ratio - 0.01,
        "high": ratio + 0.01,
        "p50_ms": 1.0,
        "rounds": 20,
        "disturbed": 0.0,
        "seconds": 0.5,
        "load": 0.1,
    }


def test_verdicts_are_counted_apart() -> None:
    """Of four A/A comparisons: two passes, one failure, one open; shares carry Wilson's intervals."""
    rows = [row(0, 0, i, status) for i, status in enumerate(("pass", "pass", "fail", "inconclusive"))]
    (line,) = false_alarms.summarize(rows)
    assert line["condition"] == "quiet"
    assert [line[status]["count"] for status in false_alarms.STATUSES] == [2, 1, 1, 0]
    assert line["fail"]["share"] == 0.25
    assert (line["pairs_of_processes"], line["fail"]["pairs"]) == (1, 1)
    # Wilson 1 of 4 at 95 %: 0.0456 to 0.6994.
    assert line["fail"]["low"] == pytest.approx(0.0456, abs=1e-4)
    assert line["fail"]["high"] == pytest.approx(0.6994, abs=1e-4)


def test_goals_are_those_of_the_issue() -> None:
    """False failures anywhere, power when quiet, and passes under load each miss their own goal alone."""
    good = [row(busy, 0, i, "pass") for busy in (0, 1, 2) for i in range(100)]
    good += [row(0, 10, i, "fail") for i in range(100)]
    good += [row(busy, 10, i, "inconclusive") for busy in (1, 2) for i in range(100)]

    def met(rows: list[dict[str, Any]]) -> list[bool]:
        return [goal["met"] for goal in false_alarms.goals(false_alarms.summarize(rows)).values()]

    assert met(good) == [True, True, True]
    alarms = [
        entry
        if (entry["busy"], entry["percent"], entry["number"]) not in {(2, 0, i) for i in range(3)}
        else {**entry, "status": "fail"}
        for entry in good
    ]
    assert met(alarms) == [False, True, True]
    missed = [
        {**entry, "status": "pass"}
        if (entry["busy"], entry["percent"]) == (0, 10) and entry["number"] < 6
        else entry
        for entry in good
    ]
    assert met(missed) == [True, False, True]
    passed = [
        {**entry, "status": "pass"}
        if (entry["busy"], entry["percent"], entry["number"]) == (1, 10, 0)
        else entry
        for entry in good
    ]
    assert met(passed) == [True, True, False]
    assert [goal["met"] for goal in false_alarms.goals([]).values()] == [None, None, None]
    assert met([entry for entry in good if entry["busy"] == 0]) == [None, True, None]
    assert met([entry for entry in good if entry["busy"] != 2]) == [None, True, None]
    begun = [entry for entry in good if entry["busy"] != 2 or entry["number"] < 50]
    assert met(begun) == [None, True, None]


def test_rows_of_another_seed_or_beyond_the_count_are_not_counted() -> None:
    """A state file that another study left behind adds nothing to this one."""
    rows = [
        {**row(0, 0, number, "pass"), "seed": seed * 1_000_000 + number}
        for seed in (0, 3)
        for number in (0, 9)
    ]
    assert [(entry["seed"], entry["number"]) for entry in false_alarms.of_study(rows, 5, 3, "x")] == [
        (3_000_000, 0)
    ]


def test_comparisons_of_other_code_are_not_mixed_in() -> None:
    """A resume after a change of the rule is refused, with what to do."""
    rows = [row(0, 0, 0, "pass"), {**row(0, 0, 1, "fail"), "seed": 1, "code": "y"}]
    with pytest.raises(UserError, match=r"^1 of 2 comparisons .* other code .* remove the state file"):
        false_alarms.of_study(rows, 5, 0, "x")
    assert len(false_alarms.of_study(rows, 1, 0, "x")) == 1


def test_a_refused_resume_leaves_everything_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and a sentence; neither result nor curve is written, and the state stays."""
    state = tmp_path / "study.state.jsonl"
    state.write_text(json.dumps(row(0, 0, 0, "pass")) + "\n")
    assert false_alarms.main(["--out", str(tmp_path / "study.json"), "--count", "1"]) == 2
    assert "other code" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [state.name]


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    """The state file is read back, a line that a kill cut short apart; the order is the seed's."""
    state = tmp_path / "x.state.jsonl"
    state.write_text(json.dumps(row(0, 5, 1, "pass")) + "\n" + '{"busy": 0, "per')
    entries = false_alarms.read_state(state)
    assert [(entry["percent"], entry["number"]) for entry in entries] == [(5, 1)]
    left = false_alarms.todo(12, entries, 7)
    assert left == false_alarms.todo(12, entries, 7)
    cells = [(busy, percent, number) for busy, percent, numbers in left for number in numbers]
    assert len(cells) == len(set(cells)) == 3 * 5 * 12 - 1
    assert (0, 5, 1) not in cells
    assert {len(numbers) for _, _, numbers in left} == {10, 9, 2}  # a pair of processes takes ten at most
    assert [batch[0] for batch in left] == sorted(batch[0] for batch in left)
    assert [batch[1] for batch in left if batch[0] == 1] != sorted(
        batch[1] for batch in left if batch[0] == 1
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The study's model."""
    return false_alarms.model(Store(tmp_path_factory.mktemp("store")))


def test_planted_work_is_the_share_that_was_asked(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that took 200 ns of CPU is followed by 100 ns more where 50 % is planted, by the CPU's clock."""
    feed = {"pixel_values": np.zeros((1, 1, 8, 8), dtype=np.float32)}
    with false_alarms.Slowed(built.artifact, threads=1, percent=50) as runner:
        clock = iter([1000, 1200, 1250, 1299, 1300])
        monkeypatch.setattr(false_alarms.time, "thread_time_ns", lambda: next(clock))
        runner.infer(feed)
        assert next(clock, None) is None
    with false_alarms.Slowed(built.artifact, threads=1, percent=0) as runner:
        clock = iter([1000, 1200, 1200])
        runner.infer(feed)
        assert next(clock, None) is None


@pytest.mark.timeout(200)
def test_a_short_study_runs_resumes_and_draws(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two comparisons on real lanes leave a result and a curve; the same command then measures nothing."""
    monkeypatch.setattr(false_alarms, "model", lambda: built)
    monkeypatch.setattr(false_alarms, "SLOWDOWNS", (0, 20))
    monkeypatch.setattr(false_alarms, "BUSY", (0,))
    out = tmp_path / "false_alarms.json"
    assert false_alarms.main(["--out", str(out), "--count", "1"]) in (0, 3)
    result = json.loads(out.read_text())
    assert [(entry["planted_percent"], entry["comparisons"]) for entry in result["results"]] == [
        (0, 1),
        (20, 1),
    ]
    assert out.with_suffix(".svg").read_text().count("<svg") == 1
    assert set(result["conditions"]) == {"before", "after"}
    slow = next(
        entry for entry in false_alarms.read_state(out.with_suffix(".state.jsonl")) if entry["percent"] == 20
    )
    assert slow["rounds"] in (20, 40, 60)
    assert (slow["pair"], slow["code"]) == (0, false_alarms.code())
    assert 0 < slow["low"] <= slow["ratio"] <= slow["high"]

    def nothing(*_: object) -> Report:
        raise AssertionError("measured again")

    monkeypatch.setattr(false_alarms, "compare", nothing)
    monkeypatch.setattr(false_alarms, "model", nothing)
    again = false_alarms.run(out, 1, 0)
    assert again["results"] == result["results"]


def test_the_study_as_a_table() -> None:
    """Goals in words with their figure, then shares of verdicts by condition and slowdown."""
    rows = [row(0, 0, i, "fail" if i < 1 else "pass") for i in range(100)]
    rows += [row(0, 10, i, "fail") for i in range(97)]
    rows += [
        row(0, 10, 97 + i, status) for i, status in enumerate(("inconclusive", "inconclusive", "anomalous"))
    ]
    lines = false_alarms.summarize(rows)
    table = false_alarms.markdown({"results": lines, "goals": false_alarms.goals(lines)}).splitlines()
    assert table[:3] == [
        "- false failures at most 2 % in every condition: not measured (1 %)",
        "- at +10 % at least 95 % found when quiet: met (97 %)",
        "- at +10 % never a pass under load: not measured",
    ]
    assert table[-3:] == [
        "| condition | equal | +10 % |",
        "| --- | ---: | ---: |",
        "| quiet | 1 % / 99 % / 0 % | 97 % / 0 % / 1 % |",
    ]


def test_busy_processes_end_with_a_study_that_is_killed() -> None:
    """Killed without a chance to clean up, it leaves nothing that runs on."""
    code = (
        "import subprocess, sys, time\n"
        "from studies.false_alarms import _SPIN\n"
        "print(subprocess.Popen([sys.executable, '-c', _SPIN]).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    study = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert study.stdout is not None
    pid = int(study.stdout.readline())
    time.sleep(0.5)
    os.kill(pid, 0)  # it is there
    study.kill()
    study.communicate(timeout=30)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("the busy process outlived the study")
