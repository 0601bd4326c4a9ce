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
import tiny_baselines
import tiny_bench
import yaml
from conftest import ROOT

from bench.record import document
from bench.report import step_summary
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


def wanted(condition: str | None, code: int, inputs: dict[str, str]) -> bool:
    """Whether a step runs after a job that ended with some code so far; by the conditions that there are."""
    if condition is None:
        return not code
    conditions = {
        "${{ always() && inputs.save-baseline != '' }}": bool(inputs["save-baseline"]),
    }
    return conditions[condition]


def act(folder: Path, environment: dict[str, str], job: str = "gate", **inputs: str) -> int:
    """Run the action's steps with some inputs, as GitHub does: the exit code of the first that fails."""
    settings = {name: str(declaration.get("default", "")) for name, declaration in ACTION["inputs"].items()}
    settings |= {name.replace("_", "-"): value for name, value in inputs.items()}
    context = {f"inputs.{name}": value for name, value in settings.items()}
    context |= {"github.action_path": str(ROOT), "strategy.job-index": "0"}
    context |= {"job.check_run_id": environment.get("TEST_CHECK", "")}
    output = Path(environment["GITHUB_OUTPUT"])
    code = 0

    def fill(text: str) -> str:
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: context[match[1]], text)

    for step in ACTION["runs"]["steps"]:
        if "run" not in step:
            continue
        if not wanted(step.get("if"), code, settings):
            continue
        written = output.read_text().splitlines() if output.exists() else []
        values = dict(line.split("=", 1) for line in written)
        context["steps.judge.outputs.exit-code"] = values.get("exit-code", "")
        assert "${{" not in step["run"], "inputs belong into the environment"
        variables = {name: fill(value) for name, value in step.get("env", {}).items()}
        process = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder,
            env={**environment, "GITHUB_JOB": job, **variables},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        if process.returncode:
            assert "Traceback" not in process.stderr, process.stderr
        if process.stderr:
            (folder / "stderr.txt").write_text(process.stderr)
        code = code or process.returncode
    return code


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A report and a budget in a job's folder."""
    document.write(tmp_path / "given.json", document.to_json(tiny_bench.report()))
    (tmp_path / "budget.yaml").write_text("- size: {at_most: 25MB}\n")
    return tmp_path


def test_the_action_judges_a_report(judged: Path, runner: dict[str, str]) -> None:
    """Passing: four files, outputs, a step summary, a baseline kept, and pip asked for this very checkout."""
    code = act(judged, runner, report="given.json", budget="budget.yaml", save_baseline="kept")
    assert code == 0
    out = judged / "paredown-report"
    assert {path.name for path in out.iterdir()} == {"report.json", "report.html", "report.md", "junit.xml"}
    assert document.read(out / "report.json").verdicts[0].status == "pass"
    assert (judged / "output.txt").read_text().splitlines() == [
        "artifact=paredown-report.gate.0",
        "exit-code=0",
        "report=paredown-report/report.json",
    ]
    assert "passed the gate" in (judged / "summary.md").read_text()
    assert len(list((judged / "kept").glob("*/main.json"))) == 1
    assert f"{ROOT}[cpu]" in (judged / "pip.log").read_text()


@pytest.mark.parametrize(
    "out",
    [
        *["", "-p", "--help", "a\nreport=elsewhere", "a\rb", " ", "a ", "~/a", "!a", "a*", "a[1]", "a" * 300],
        *["given.json", "given.json/a"],
    ],
)
def test_an_out_that_is_no_folder_name_is_a_sentence(judged: Path, runner: dict[str, str], out: str) -> None:
    """Exit 2, and nothing was run.

    Empty, an option, a line break that would write outputs of its own, what the upload would read in another
    way, and what no folder can be made of.
    """
    assert act(judged, runner, report="given.json", budget="budget.yaml", out=out) == 2
    assert "The input 'out' is '" in (judged / "stderr.txt").read_text()
    assert (judged / "output.txt").read_text() == "exit-code=2\n"
    assert {path.name for path in judged.iterdir()} == {
        "bin", "budget.yaml", "given.json", "output.txt", "pip.log", "stderr.txt",
    }  # fmt: skip


def test_an_artifact_s_name_has_no_slash_and_is_of_its_job(judged: Path, runner: dict[str, str]) -> None:
    """'build/report' in two jobs: two names that the upload takes, of the folder that it uploads."""
    upload = ACTION["runs"]["steps"][-1]
    assert upload["with"]["name"] == "${{ steps.judge.outputs.artifact }}"
    assert upload["with"]["path"] == "${{ inputs.out }}"
    names = []
    for job in ("gate", "gate-arm"):
        (judged / "output.txt").unlink(missing_ok=True)
        assert act(judged, runner, job, report="given.json", budget="budget.yaml", out="build/report") == 0
        lines = (judged / "output.txt").read_text().splitlines()
        assert "report=build/report/report.json" in lines
        names += [line.removeprefix("artifact=") for line in lines if line.startswith("artifact=")]
    assert [re.sub(r"-\d+$", "", name) for name in names] == [
        "build-report.gate.0",
        "build-report.gate-arm.0",
    ]


def test_two_folders_of_a_job_never_share_an_artifact(judged: Path, runner: dict[str, str]) -> None:
    """'build/report' and 'build-report', and two long names that differ in their ends alone."""
    names = []
    for out in ("build-report", "build/report", "build report", "a" * 150 + "b", "a" * 150 + "c"):
        (judged / "output.txt").unlink(missing_ok=True)
        assert act(judged, runner, report="given.json", budget="budget.yaml", out=out) == 0
        names.append((judged / "output.txt").read_text().splitlines()[0].removeprefix("artifact="))
    assert names[0] == "build-report.gate.0"
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,220}", name) for name in names)


def test_two_jobs_never_share_an_artifact(judged: Path, runner: dict[str, str]) -> None:
    """Where folder and job are joined, and where a workflow is called twice and both calls have the same."""
    names = []
    for out, job, check in (("a-b", "c", ""), ("a", "b-c", ""), ("a", "c", "41"), ("a", "c", "42")):
        (judged / "output.txt").unlink(missing_ok=True)
        environment = {**runner, "TEST_CHECK": check}
        assert act(judged, environment, job, report="given.json", budget="budget.yaml", out=out) == 0
        names.append((judged / "output.txt").read_text().splitlines()[0].removeprefix("artifact="))
    assert names == ["a-b.c.0", "a.b-c.0", "a.c.0.41", "a.c.0.42"]


def test_the_number_of_a_job_is_not_cut_off_its_artifact(judged: Path, runner: dict[str, str]) -> None:
    """Two jobs of a matrix differ in that number alone, however long their folder and name are."""
    inputs = {"report": "given.json", "budget": "budget.yaml", "out": "a" * 150}
    assert act(judged, runner, "j" * 200, **inputs) == 0
    name = (judged / "output.txt").read_text().splitlines()[0]
    assert re.fullmatch(f"artifact={'a' * 90}[.]{'j' * 90}[.]0-[0-9]+", name)


@pytest.mark.parametrize("inconclusive", ["", "fail"])
def test_the_action_saves_the_first_baseline(judged: Path, runner: dict[str, str], inconclusive: str) -> None:
    """Nothing to compare with: inconclusive, all else judged, and kept, whatever an open verdict counts as.

    Without it a regression gate could never be started: the baseline was kept after a pass only.
    """
    (judged / "budget.yaml").write_text(
        "- regression: {baseline: kept, metric: size_bytes, worse_by_at_most: 5%}\n"
    )
    document.write(judged / "given.json", document.to_json(tiny_baselines.measured()))
    inputs = {
        "report": "given.json",
        "budget": "budget.yaml",
        "save_baseline": "kept",
        "inconclusive": inconclusive,
    }
    assert act(judged, runner, **inputs) == {"": 4, "fail": 3}[inconclusive]
    assert len(list((judged / "kept").glob("*/main.json"))) == 1
    assert (
        "kept has no baseline 'main' for this machine" in (judged / "paredown-report/junit.xml").read_text()
    )
    (judged / "output.txt").unlink()
    assert act(judged, runner, **inputs) == 0


def test_the_action_keeps_no_report_that_failed_as_the_first_baseline(
    judged: Path, runner: dict[str, str]
) -> None:
    """A gate that failed beside the open one; and a baseline that is there stays until a report passes."""
    open_ = "- regression: {baseline: kept, metric: size_bytes, worse_by_at_most: 5%}\n"
    inputs = {"report": "given.json", "budget": "budget.yaml", "save_baseline": "kept"}
    (judged / "budget.yaml").write_text(open_ + "- size: {at_most: 1KB}\n")
    assert act(judged, runner, **inputs) == 3
    assert not (judged / "kept").exists()
    assert "not kept as the first baseline, for its gates: size (fail)" in (judged / "stderr.txt").read_text()


def test_a_first_baseline_goes_to_a_branch_without_an_identity(judged: Path, runner: dict[str, str]) -> None:
    """As on a hosted runner: nobody set user.name, and the branch of origin is fetched and gone on from."""
    origin, work_ = judged / "origin", judged / "work"
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    git = ["git", "-C"]
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    subprocess.run(["git", "clone", "-q", str(origin), str(work_)], check=True, capture_output=True)
    subprocess.run([*git, str(work_), *identity, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, str(work_), "push", "-q", "origin", "HEAD:main", "HEAD:baselines"], check=True)
    for name in ("given.json", "budget.yaml"):
        (work_ / name).write_bytes((judged / name).read_bytes())
    home = {"HOME": str(judged / "home"), "GIT_CONFIG_NOSYSTEM": "1", "EMAIL": ""}
    code = act(
        work_, {**runner, **home}, report="given.json", budget="budget.yaml", save_baseline="git:baselines"
    )
    assert code == 0, (work_ / "stderr.txt").read_text()
    log = subprocess.run(
        [*git, str(work_), "log", "--format=%an", "baselines"], check=True, capture_output=True, text=True
    )
    assert log.stdout.split() == ["paredown", "a"]


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
    exit_code = act(judged, runner, report="given.json", budget="budget.yaml", save_baseline="kept", **inputs)
    assert exit_code == code
    assert f"exit-code={code}\n" in (judged / "output.txt").read_text()
    # What is open and did not fail is the first baseline all the same.
    assert (judged / "kept").is_dir() is (code in (0, 4))


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
    report = document.read(tmp_path / "paredown-report" / "report.json")
    assert [candidate.name for candidate in report.candidates] == ["after"]


def test_an_input_is_never_run(judged: Path, runner: dict[str, str]) -> None:
    """Shell in an input is a file name that does not exist, and nothing else."""
    code = act(judged, runner, report="given.json", budget='x"; touch owned; echo "$(touch owned)')
    assert code == 2
    assert not (judged / "owned").exists()


@pytest.mark.parametrize(("extra", "versions"), [("cpu", "constraints.txt"), ("gpu", "constraints-gpu.txt")])
def test_the_action_installs_the_versions_that_go_with_the_extra(
    judged: Path, runner: dict[str, str], extra: str, versions: str
) -> None:
    """As the README's install says it."""
    assert act(judged, runner, report="given.json", budget="budget.yaml", extra=extra) == 0
    assert f"-c {ROOT}/{versions} {ROOT}[{extra}]" in (judged / "pip.log").read_text()


def work(folder: Path, environment: dict[str, str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the GitLab job's script with some variables in place of its own."""
    settings = {
        **GITLAB["variables"],
        **{f"PAREDOWN_{name.upper()}": value for name, value in variables.items()},
    }
    assert settings.keys() == GITLAB["variables"].keys()
    inherited = {name: value for name, value in environment.items() if not name.startswith("GITHUB_")}
    return subprocess.run(
        ["bash", "-eo", "pipefail", "-c", "\n".join(GITLAB["script"])],
        cwd=folder,
        env={**inherited, **settings},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def noted(tmp_path: Path, runner: dict[str, str]) -> dict[str, str]:
    """A runner whose paredown only notes what it was asked for, a word a line."""
    (tmp_path / "bin" / "paredown").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{tmp_path}/asked"\n')
    return runner


def checkout(folder: Path) -> Path:
    """What the job needs to see of a checkout of paredown."""
    folder.mkdir()
    for name in ("pyproject.toml", "constraints.txt", "constraints-gpu.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.mark.parametrize(("extra", "versions"), [("cpu", "constraints.txt"), ("gpu", "constraints-gpu.txt")])
def test_the_gitlab_job_installs_a_checkout(
    tmp_path: Path, noted: dict[str, str], extra: str, versions: str
) -> None:
    """A folder beside the model, with the versions that go with the extra; never a name in a registry."""
    place = checkout(tmp_path / "paredown")
    process = work(tmp_path, noted, source="paredown", extra=extra)
    assert process.returncode == 0, process.stderr
    log = (tmp_path / "pip.log").read_text()
    assert log == f"-m pip install --quiet -c {place}/{versions} {place}[{extra}]\n"


def test_the_gitlab_job_clones_a_url(tmp_path: Path, noted: dict[str, str]) -> None:
    """A repository is fetched at the branch or tag that was asked for."""
    place = checkout(tmp_path / "paredown")
    for arguments in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "Start"),
        ("tag", "v1"),
    ):
        subprocess.run(["git", "-C", str(place), *arguments], check=True)
    process = work(tmp_path, noted, source=place.as_uri(), ref="v1")
    assert process.returncode == 0, process.stderr
    log = (tmp_path / "pip.log").read_text()
    assert log.endswith("[cpu]\n")
    assert str(place) not in log
    assert work(tmp_path, noted, source=place.as_uri(), ref="v2").returncode != 0


def test_the_gitlab_job_says_where_paredown_is_missing(tmp_path: Path, noted: dict[str, str]) -> None:
    """The user's own project is not installed in its place: one sentence, and nothing runs."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    (tmp_path / "constraints.txt").write_text("")
    process = work(tmp_path, noted)
    assert process.returncode == 2
    assert "PAREDOWN_SOURCE is '.', and there is no checkout of paredown: name the folder" in process.stderr
    assert not (tmp_path / "pip.log").exists()
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("inconclusive", ["", "pass", "fail"])
def test_the_gitlab_job_hands_on_what_is_inconclusive(
    tmp_path: Path, noted: dict[str, str], inconclusive: str
) -> None:
    """Nothing where nothing was said, so that exit code 4 stays the allowed failure."""
    checkout(tmp_path / "paredown")
    process = work(
        tmp_path, noted, source="paredown", inconclusive=inconclusive, candidates="a b", options="--rounds 3"
    )
    assert process.returncode == 0, process.stderr
    arguments = (tmp_path / "asked").read_text().split("\n")[:-1]
    assert arguments[:3] == ["bench", "a", "b"]
    more = ["--inconclusive", inconclusive] if inconclusive else []
    assert arguments[-2 - len(more) :] == [*more, "--rounds", "3"]
    assert ("--inconclusive" in arguments) is bool(inconclusive)


@pytest.mark.parametrize(
    ("code", "save", "command"),
    [
        (0, "kept", "baseline save paredown-report/report.json --to kept --name main"),
        (4, "kept", "baseline save paredown-report/report.json --to kept --name main --first"),
        (3, "kept", "baseline save paredown-report/report.json --to kept --name main --first"),
        (5, "kept", None),
        (2, "kept", None),
        (4, "", None),
    ],
)
def test_the_gitlab_job_keeps_baselines_as_the_action_does(
    tmp_path: Path, noted: dict[str, str], code: int, save: str, command: str | None
) -> None:
    """A report that passed, or the first one of its machine; the job's code is what the bench said."""
    checkout(tmp_path / "paredown")
    (tmp_path / "bin" / "paredown").write_text(
        f'#!/bin/sh\necho "$*" >> "{tmp_path}/asked"\n[ "$1" != bench ] || exit {code}\n'
    )
    process = work(tmp_path, noted, source="paredown", candidates="a", save_baseline=save)
    assert process.returncode == code, process.stderr
    calls = (tmp_path / "asked").read_text().splitlines()
    assert calls[0].startswith("bench a ")
    assert calls[1:] == ([command] if command else [])


@pytest.mark.parametrize("out", ["", "-p"])
def test_the_gitlab_job_refuses_an_out_that_is_no_folder_name(
    tmp_path: Path, noted: dict[str, str], out: str
) -> None:
    """One sentence, exit 2, and nothing is measured."""
    checkout(tmp_path / "paredown")
    process = work(tmp_path, noted, source="paredown", out=out)
    assert process.returncode == 2
    assert f"PAREDOWN_OUT is '{out}': give the name of a folder" in process.stderr
    assert not (tmp_path / "asked").exists()


@pytest.mark.slow
def test_the_gitlab_job_measures_and_judges(tmp_path: Path, runner: dict[str, str]) -> None:
    """The script's lines run in a shell with the job's variables; inconclusive is the allowed failure."""
    tiny.text_model(tmp_path / "teacher", layers=1)
    tiny.text_data(tmp_path / "data")
    (tmp_path / "budget.yaml").write_text("- size: {at_most: 1x}\n")
    process = work(tmp_path, runner, source=str(ROOT), candidates="teacher", options="--probes size")
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "paredown-report" / "junit.xml").is_file()
    assert GITLAB["allow_failure"] == {"exit_codes": [4]}
    assert GITLAB["artifacts"]["reports"]["junit"] == "$PAREDOWN_OUT/junit.xml"
    assert f"{ROOT}[cpu]" in (tmp_path / "pip.log").read_text()


def test_the_summary_is_appended_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set: appended unless forbidden. Not set: nothing, and asking for it is a sentence."""
    report: Any = tiny_bench.report()
    monkeypatch.delenv(step_summary.VARIABLE, raising=False)
    assert step_summary.append(report) is None
    with pytest.raises(UserError, match=r"--summary was asked for and \$GITHUB_STEP_SUMMARY is not set"):
        step_summary.append(report, True)
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv(step_summary.VARIABLE, str(file))
    assert step_summary.append(report, False) is None
    assert step_summary.append(report) == file
    text = file.read_text()
    assert text.startswith("before\n# after against before")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv(step_summary.VARIABLE, str(tmp_path / "pipe"))  # nobody reads it: no wait without end
    with pytest.raises(UserError, match="cannot be written"):
        step_summary.append(report)
    monkeypatch.setenv(step_summary.VARIABLE, str(tmp_path / "no" / "where.md"))
    with pytest.raises(UserError, match="cannot be written"):
        step_summary.append(report)
