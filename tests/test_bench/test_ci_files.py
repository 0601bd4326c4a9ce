"""The GitHub Action and the GitLab job: their steps run in a shell as the runner would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_bench
import yaml
from conftest import ROOT

from bench import report, step_summary
from compress.errors import UserError

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GITLAB = yaml.safe_load((ROOT / ".gitlab-ci.paredown.yml").read_text())[".paredown"]


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """The environment of a job: a launcher for paredown, and a pip that only notes what it was asked for."""
    place = tmp_path / "bin"
    place.mkdir()
    scripts = {
        "paredown": f'exec "{sys.executable}" -m compress "$@"\n',
        "python": f'echo "$@" >> "{tmp_path}/pip.log"\n',
    }
    for name, text in scripts.items():
        (place / name).write_text(f"#!/bin/sh\n{text}")
        (place / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "PAREDOWN_STORE": str(tmp_path / "store"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "GITHUB_OUTPUT": str(tmp_path / "output.txt"),
    }


def act(folder: Path, environment: dict[str, str], **inputs: str) -> int:
    """Run the action's steps with some inputs, as GitHub does: the exit code of the first that fails."""
    given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    context = {f"inputs.{name}": value for name, value in given.items()} | {"github.action_path": str(ROOT)}

    def fill(text: str) -> str:
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: context[found[1]], text)

    for step in ACTION["runs"]["steps"]:
        if "run" not in step:
            continue
        if step.get("if") == "${{ inputs.save-baseline != '' }}" and not given["save-baseline"]:
            continue
        assert "${{" not in step["run"], "inputs belong into the environment"
        own = {name: fill(value) for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder,
            env={**environment, **own},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if done.returncode:
            assert "Traceback" not in done.stderr, done.stderr
            return done.returncode
    return 0


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A report and a budget in a job's folder."""
    report.write(tmp_path / "given.json", report.to_json(tiny_bench.report()))
    (tmp_path / "budget.yaml").write_text("- size: {at_most: 25MB}\n")
    return tmp_path


def test_the_action_judges_a_report(judged: Path, runner: dict[str, str]) -> None:
    """Passing: four files, outputs, a step summary, a baseline kept, and pip asked for this very checkout."""
    code = act(judged, runner, report="given.json", budget="budget.yaml", save_baseline="kept")
    assert code == 0
    out = judged / "paredown-report"
    assert {one.name for one in out.iterdir()} == {"report.json", "report.html", "report.md", "junit.xml"}
    assert report.read(out / "report.json").verdicts[0].status == "pass"
    assert (judged / "output.txt").read_text() == "exit-code=0\nreport=paredown-report/report.json\n"
    assert "passed the gate" in (judged / "summary.md").read_text()
    assert len(list((judged / "kept").glob("*/main.json"))) == 1
    assert f"{ROOT}[cpu]" in (judged / "pip.log").read_text()


@pytest.mark.parametrize(
    ("gates", "inputs", "code"),
    [
        ("- size: {at_most: 10MB}\n", {}, 3),
        ("- accuracy-drop: {at_most: 1pt}\n", {}, 4),
        ("- accuracy-drop: {at_most: 1pt}\n", {"inconclusive": "pass"}, 0),
        ("- latency: {p50_at_most: 1x, implausible_speedup: 2x}\n", {}, 5),
        ("- weight: {at_most: 10MB}\n", {}, 2),
    ],
)
def test_the_action_ends_with_the_gate_s_code(
    judged: Path, runner: dict[str, str], gates: str, inputs: dict[str, str], code: int
) -> None:
    """Failed, inconclusive, told to pass, anomalous and wrong input each give their code and say so."""
    (judged / "budget.yaml").write_text(gates)
    found = act(judged, runner, report="given.json", budget="budget.yaml", save_baseline="kept", **inputs)
    assert found == code
    assert f"exit-code={code}\n" in (judged / "output.txt").read_text()
    assert (judged / "kept").is_dir() is (code == 0)


@pytest.mark.slow
def test_the_action_measures_candidates(tmp_path: Path, runner: dict[str, str]) -> None:
    """A model folder is measured and judged; a name with a blank stays one word."""
    tiny.text_model(tmp_path / "a model", layers=1)
    tiny.text_data(tmp_path / "data")
    (tmp_path / "budget.yaml").write_text("- size: {at_most: 1x}\n")
    candidates = "\nafter=a model\n"
    code = act(
        tmp_path, runner, candidates=candidates, data="data", budget="budget.yaml", options="--probes\nsize\n"
    )
    assert code == 0
    found = report.read(tmp_path / "paredown-report" / "report.json")
    assert [one.name for one in found.candidates] == ["after"]


def test_an_input_is_never_run(judged: Path, runner: dict[str, str]) -> None:
    """Shell in an input is a file name that does not exist, and nothing else."""
    code = act(judged, runner, report="given.json", budget='x"; touch owned; echo "$(touch owned)')
    assert code == 2
    assert not (judged / "owned").exists()


@pytest.mark.slow
def test_the_gitlab_job_measures_and_judges(tmp_path: Path, runner: dict[str, str]) -> None:
    """The script's lines run in a shell with the job's variables; inconclusive is the allowed failure."""
    tiny.text_model(tmp_path / "teacher", layers=1)
    tiny.text_data(tmp_path / "data")
    (tmp_path / "budget.yaml").write_text("- size: {at_most: 1x}\n")
    variables = {**GITLAB["variables"], "PAREDOWN_CANDIDATES": "teacher", "PAREDOWN_OPTIONS": "--probes size"}
    environment = {name: value for name, value in runner.items() if not name.startswith("GITHUB_")}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(GITLAB["script"])],
        cwd=tmp_path,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "paredown-report" / "junit.xml").is_file()
    assert GITLAB["allow_failure"] == {"exit_codes": [4]}
    assert GITLAB["artifacts"]["reports"]["junit"] == "$PAREDOWN_OUT/junit.xml"
    assert "paredown[cpu]" in (tmp_path / "pip.log").read_text()


def test_the_summary_is_appended_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set: appended unless forbidden. Not set: nothing, and asking for it is a sentence."""
    found: Any = tiny_bench.report()
    monkeypatch.delenv(step_summary.VARIABLE, raising=False)
    assert step_summary.append(found) is None
    with pytest.raises(UserError, match=r"--summary was asked for and \$GITHUB_STEP_SUMMARY is not set"):
        step_summary.append(found, True)
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv(step_summary.VARIABLE, str(file))
    assert step_summary.append(found, False) is None
    assert step_summary.append(found) == file
    text = file.read_text()
    assert text.startswith("before\n# after against before")
    monkeypatch.setenv(step_summary.VARIABLE, str(tmp_path / "no" / "where.md"))
    with pytest.raises(UserError, match="cannot be written"):
        step_summary.append(found)
