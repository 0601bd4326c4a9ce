"""Stored baselines, kept apart by machine, and the verbs that save, list and compare them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_damage
from tiny_baselines import MACHINE, judged, kept, measured, narrow, scaled
from typer.testing import CliRunner

from bench import session
from bench.machine import devices
from bench.record import document as reports
from bench.record.gpu import Facts
from bench.verdicts import baselines, extension, judge
from bench.verdicts.baselines import NoBaseline
from compress import environment
from compress.errors import ExitCode, UserError
from compress.recipe import Named
from paredown.app import app


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that holds a baseline of the machine."""
    return kept(tmp_path / "kept")


def test_a_baseline_is_filed_under_its_machine(place: Path) -> None:
    """The path is the fingerprint and the name; what comes back is what was kept."""
    folder = baselines.fingerprint(MACHINE)[:16]
    assert [path.relative_to(place).as_posix() for path in place.rglob("*.json")] == [f"{folder}/main.json"]
    assert baselines.load(str(place), MACHINE) == narrow(measured())
    (listed,) = baselines.stored(str(place))
    assert (listed.name, listed.fingerprint) == ("main", folder)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"python": "3.12", "commit": "abc", "platform": "other"}, True),
        ({"cpu": "another"}, False),
        ({"cpus": "8"}, False),
        ({"gpu": "a card"}, False),
        ({"cuda": "13.0"}, False),
        ({"tensorrt": "10.16.1"}, False),
        ({"tensorrt-rtx": "1.7.1"}, False),
        ({"onnxruntime": "1.33"}, False),
    ],
)
def test_what_makes_a_machine_the_same(change: dict[str, str], same: bool) -> None:
    """Processor, CPUs, GPU and runtimes count; Python, commit and kernel do not."""
    assert (baselines.fingerprint({**MACHINE, **change}) == baselines.fingerprint(MACHINE)) is same


def test_versions_of_tensorrt_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two reports that differ in it alone share no baseline; without it nothing is said, as before."""
    real = environment.version

    def prints(version: str | None) -> str:
        monkeypatch.setattr(
            environment, "version", lambda name: version if name.startswith("tensorrt") else real(name)
        )
        facts = environment.describe()
        assert ("tensorrt" in facts) == (version is not None)
        return baselines.fingerprint(facts)

    assert len({prints("10.16.1"), prints("11.4.0"), prints(None)}) == 3
    assert not [name for name in environment.describe() if name.startswith("tensorrt")]


def test_another_machine_finds_no_baseline_and_hears_why(place: Path) -> None:
    """The one of that name is named with what differs; so it is for a report file. It is no mistake."""
    reason = r"no baseline 'main' for this machine .*another machine \(cpus 2 there, 8 here\)"
    with pytest.raises(NoBaseline, match=reason):
        baselines.load(str(place), {**MACHINE, "cpus": "8"})
    (file,) = place.rglob("*.json")
    with pytest.raises(NoBaseline, match=r"measured on another machine \(cpus 2 there, 8 here\)"):
        baselines.load(str(file), {**MACHINE, "cpus": "8"})
    with pytest.raises(NoBaseline, match=r"no baseline 'next' for this machine .* this machine has: main"):
        baselines.load(str(place), MACHINE, "next")
    with pytest.raises(
        NoBaseline, match=r"there is none at all\. Save one with 'paredown baseline save REPORT"
    ):
        baselines.load(str(place / "empty"), MACHINE)


@pytest.mark.parametrize(
    ("location", "machine", "reason"),
    [
        ("nowhere", MACHINE, "there is none at all"),
        ("place", {**MACHINE, "cpu": "another processor"}, "cpu a processor there, another processor here"),
        ("place", {**MACHINE, "cpus": "8"}, "cpus 2 there, 8 here"),
        ("place", {**MACHINE, "gpu": "a GPU"}, "gpu absent there, a GPU here"),
        ("file", {**MACHINE, "cpus": "8"}, "cpus 2 there, 8 here"),
    ],
)
def test_without_a_baseline_of_this_machine_the_verdict_is_open_and_the_rest_is_judged(
    place: Path, tmp_path: Path, location: str, machine: dict[str, str], reason: str
) -> None:
    """None yet, another processor, another count of CPUs, another GPU: inconclusive, with the command."""
    (file,) = place.rglob("*.json")
    baseline = {"nowhere": tmp_path / "nowhere", "place": place, "file": file}[location]
    options = {"baseline": str(baseline), "worse_by_at_most": "5%"}
    gates = [Named(name="size", options={"at_most": "1GB"}), Named(name="regression", options=options)]
    judge.ready(judge.prepare(gates), machine)
    report = judge.judge(measured(environment=machine), gates)
    size, regression = report.verdicts
    assert size.status == "pass"
    assert (regression.status, regression.value, regression.metric) == (
        "inconclusive",
        None,
        "latency_p50_ms",
    )
    assert reason in regression.reason
    assert "'paredown baseline save REPORT --to " in regression.reason
    assert judge.exit_code(report.verdicts) == ExitCode.INCONCLUSIVE
    assert judge.exit_code(report.verdicts, "pass") == ExitCode.OK
    assert judge.exit_code(report.verdicts, "fail") == ExitCode.GATE_FAILED
    assert extension.open_points(judge.prepare(gates), report, "latency") == []


def test_gate_writes_every_report_without_a_baseline(tmp_path: Path) -> None:
    """Exit 4 and JUnit with a skipped case, or what --inconclusive says; a damaged baseline stays exit 2."""
    store, budget, junit = tmp_path / "kept", tmp_path / "budget.yaml", tmp_path / "junit.xml"
    report_file = tmp_path / "report.json"
    report_file.write_text(reports.to_json(measured()))
    budget.write_text(
        f"- regression: {{baseline: {store}, worse_by_at_most: 5%}}\n- size: {{at_most: 1GB}}\n"
    )
    arguments = (
        "gate",
        report_file,
        "--budget",
        budget,
        "--junit",
        junit,
        "--report",
        tmp_path / "judged.json",
    )
    assert run(*arguments)[0] == ExitCode.INCONCLUSIVE
    assert "there is none at all" in junit.read_text()
    assert run(*arguments, "--inconclusive", "pass")[0] == ExitCode.OK
    judged_file = tmp_path / "judged.json"
    assert run("baseline", "save", judged_file, "--to", store, "--first")[0] == 0
    assert run(*arguments)[0] == ExitCode.INCONCLUSIVE  # its interval of 5 % is too wide, and it is compared
    (file,) = store.rglob("*.json")
    file.write_text("{")
    with pytest.raises(UserError):
        run(*arguments)


def test_the_first_baseline_is_kept_unless_a_gate_failed(tmp_path: Path) -> None:
    """Once a machine and name; what failed, or is open and told to count as failed, keeps it out."""
    place = tmp_path / "kept"

    def kept(*gates: Named, inconclusive: Any = None) -> tuple[str | None, str]:
        options = {"baseline": str(place), "worse_by_at_most": "5%"}
        all_ = [Named(name="regression", options=options), *gates]
        return baselines.first(judge.judge(measured(inconclusive=inconclusive), all_), str(place))

    failing, open_ = (
        Named(name="size", options={"at_most": "1KB"}),
        Named(name="accuracy-drop", options={"at_most": "1pt"}),
    )
    assert kept(failing) == (None, "the report is not kept as the first baseline, for its gates: size (fail)")
    path, reason = kept(open_, inconclusive="fail")
    assert path is None
    assert "accuracy-drop (inconclusive)" in reason
    assert not place.exists()
    path, reason = kept(inconclusive="fail")
    assert path is not None
    assert reason == "the first baseline 'main' of this machine"
    assert (place / path).is_file()
    again, reason = kept(open_)
    assert again is None
    assert "is there already" in reason


@pytest.mark.parametrize("name", ["../up", "", "a b", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    """A baseline cannot be written outside its place."""
    with pytest.raises(UserError, match="is no name for a baseline"):
        baselines.save(measured(), str(tmp_path), name)


def test_a_baseline_keeps_figures_and_no_rows(tmp_path: Path) -> None:
    """What quotes evaluation rows stays out of what may be pushed; the figures are all there."""
    report = tiny_damage.report()
    assert any(measurement.finding for measurement in report.measurements)
    baselines.save(report, str(tmp_path))
    (baseline,) = baselines.stored(str(tmp_path))
    assert [measurement.finding for measurement in baseline.report.measurements] == [None] * len(
        report.measurements
    )
    assert [measurement.value for measurement in baseline.report.measurements] == [
        measurement.value for measurement in report.measurements
    ]


def test_an_edited_baseline_is_refused(place: Path) -> None:
    """The stored file is sealed like any report."""
    (file,) = place.rglob("*.json")
    file.write_text(file.read_text().replace('"value": 2.0', '"value": 9.0'))
    with pytest.raises(UserError, match="was changed after it was written"):
        judged(measured(), place)


def test_a_report_without_a_seal_is_neither_judged_nor_kept(place: Path, tmp_path: Path) -> None:
    """Gate, save and compare refuse it, as a report and as the baseline, with what to do; report shows it."""
    (stored,) = place.rglob("*.json")
    good, bare, budget = tmp_path / "good.json", tmp_path / "bare.json", tmp_path / "budget.yaml"
    good.write_text(stored.read_text())
    tree = json.loads(stored.read_text())
    del tree["checksum"]
    bare.write_text(json.dumps(tree))
    budget.write_text("- size: {at_most: 1GB}\n")
    store = tmp_path / "new"
    for arguments in (
        ("gate", bare, "--budget", budget),
        ("baseline", "save", bare, "--to", store),
        ("baseline", "compare", bare, "--from", place),
        ("baseline", "compare", good, "--from", bare),
    ):
        with pytest.raises(
            UserError, match=r"bare\.json has no checksum, .*: measure again with this version's"
        ):
            run(*arguments)
    assert not store.exists()
    stored.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"main\.json has no checksum"):
        run("baseline", "compare", good, "--from", place)
    assert run("report", bare)[0] == 0
    assert run("gate", good, "--budget", budget)[0] == 0


def git(folder: Path, *arguments: str) -> str:
    """A git command's output."""
    process = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


def test_a_branch_keeps_baselines_without_touching_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two saves are two commits on a branch of its own; work tree, index and head stay as they were."""
    git(tmp_path, "init", "-q", "-b", "main")
    for key, value in (("user.name", "Somebody"), ("user.email", "somebody@example.org")):
        git(tmp_path, "config", key, value)
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "Start")
    (tmp_path / "staged.py").write_text("y = 2\n")
    git(tmp_path, "add", "staged.py")
    head, status = git(tmp_path, "rev-parse", "HEAD"), git(tmp_path, "status", "--porcelain")
    monkeypatch.chdir(tmp_path)
    baselines.save(measured(), "git:kept/base")
    baselines.save(measured(seed=3), "git:kept/base")
    baselines.save(measured(), "git:kept/base", "release-1")
    assert baselines.load("git:kept/base", MACHINE).seed == 3
    assert sorted(baseline.name for baseline in baselines.stored("git:kept/base")) == ["main", "release-1"]
    assert git(tmp_path, "rev-list", "--count", "kept/base") == "3"
    assert (git(tmp_path, "rev-parse", "HEAD"), git(tmp_path, "status", "--porcelain")) == (head, status)
    assert "code.py" not in git(tmp_path, "ls-tree", "-r", "--name-only", "kept/base")


def test_a_branch_outside_a_repository_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git knows no repository, or no branch is named, the message says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match=r"inside a git repository .* or give a folder"):
        baselines.save(measured(), "git:kept")
    with pytest.raises(UserError, match=r"inside a git repository .* or give a folder") as refusal:
        baselines.load("git:kept", MACHINE)
    assert not isinstance(refusal.value, NoBaseline)
    with pytest.raises(UserError, match="names no branch"):
        baselines.save(measured(), "git:")


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result.exit_code, result.stdout


def test_the_list_knows_the_reports_of_its_own_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of this machine are its own with and without its GPU; those of another GPU are not."""
    facts = Facts(name="Fake H200", uuid="GPU-1", driver="590.44", cuda="13.2", memory_bytes=16 * 2**30)
    requests: list[str] = []

    def find(device: str) -> Any:
        requests.append(device)
        return SimpleNamespace(gpu=SimpleNamespace(facts=lambda: facts))

    monkeypatch.setattr(devices, "find", find)
    monkeypatch.setattr(devices.gpu, "count", lambda: 1)
    described = environment.describe()
    baselines.save(measured(environment=described), str(tmp_path), "cpu")
    assert json.loads(run("baseline", "list", "--from", tmp_path, "--json")[1])[0]["here"] is True
    assert requests == []
    assert devices.Watch(None, None, None, "cpu").identity() == {}
    on_gpu = {**described, **devices.identity(find("cuda"), "cuda")}
    baselines.save(measured(environment=on_gpu), str(tmp_path), "gpu")
    baselines.save(measured(environment={**on_gpu, "gpu": "another"}), str(tmp_path), "other")
    rows = json.loads(run("baseline", "list", "--from", tmp_path, "--json")[1])
    assert {row["name"]: row["here"] for row in rows} == {"cpu": True, "gpu": True, "other": False}
    assert rows[-1]["name"] == "other"
    table = " ".join(run("baseline", "list", "--from", tmp_path)[1].split())
    assert "this one (Fake H200)" in table


def test_the_verb_saves_lists_and_compares(tmp_path: Path) -> None:
    """Save, list and compare as a user does; exit 3 for a regression, and what is open counts as told."""
    file, store = tmp_path / "report.json", tmp_path / "kept"
    reports.write(file, reports.to_json(narrow(measured())))
    code, stdout = run("baseline", "save", file, "--to", store)
    assert code == 0
    assert Path(stdout.strip()).is_file()
    code, stdout = run("baseline", "list", "--from", store, "--json")
    assert [(row["name"], row["what"]["cpus"]) for row in json.loads(stdout)] == [("main", "2")]
    assert run("baseline", "list", "--from", store)[1].count("main") == 1
    code, stdout = run("baseline", "compare", file, "--from", store, "--lost", "2pt", "--json")
    assert code == 0
    assert [row["metric"] for row in json.loads(stdout)] == [
        "latency_p50_ms", "accuracy", "memory_peak_bytes", "size_bytes",
    ]  # fmt: skip
    # One point is within the noise of two reports on a hundred rows.
    for more, expected in (((), 4), (("--inconclusive", "pass"), 0), (("--inconclusive", "fail"), 3)):
        assert run("baseline", "compare", file, "--from", store, *more)[0] == expected
    reports.write(file, reports.to_json(scaled(narrow(measured()), "latency_p50_ms", 1.3)))
    assert run("baseline", "compare", file, "--from", store, "--lost", "2pt")[0] == 3
    assert "holds no baseline" in " ".join(run("baseline", "list", "--from", tmp_path / "none")[1].split())


def test_a_gate_that_cannot_be_judged_refuses_before_anything_is_measured(
    tmp_path: Path, text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bench against a baseline of other rows: no lane is opened. Without one, the run goes on and is open."""
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    data, out, place = tiny.text_data(tmp_path / "data"), tmp_path / "report.json", tmp_path / "kept"
    budget = tmp_path / "budget.yaml"
    budget.write_text(f"- regression: {{baseline: {place}, metric: size_bytes, worse_by_at_most: 5%}}\n")
    words = ("bench", text_model, "--data", data, "--probes", "size", "--threads", 1, "--budget", budget)
    assert run(*words, "--json", out)[0] == ExitCode.INCONCLUSIVE
    assert reports.read(out).verdicts[0].status == "inconclusive"
    assert run("baseline", "save", out, "--to", place, "--first")[0] == 0
    assert run(*words)[0] == ExitCode.OK
    (data / "validation.jsonl").write_text((data / "validation.jsonl").read_text().replace("film", "story"))

    def opened(specs: Any) -> Any:
        raise AssertionError("a lane was opened")

    monkeypatch.setattr(session, "open_lanes", opened)
    with pytest.raises(UserError, match="the baseline was measured on other evaluation rows"):
        run(*words)
