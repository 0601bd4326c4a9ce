"""The command line as a user meets it: results on stdout, one sentence for a mistake, the exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_bench
import yaml

from bench.record.model import Verdict
from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import ExitCode
from compress.pipeline import building
from compress.recipe import read
from paredown import app, workflow

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paredown(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; gives exit code, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            app.main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        code = left.value.code
        return (int(code) if code else 0), streams.out, streams.err

    return run


@pytest.fixture
def recipe(tmp_path: Path, text_model: Path, text_data: Path) -> Path:
    """A quick recipe: export and dynamic INT8."""
    path = tmp_path / "recipe.yaml"
    content = {
        "model": str(text_model),
        "data": {"source": str(tiny.answer(text_model, text_data)), "calibration": 16},
        "threads": 1,
        "stages": [{"load": {}}, {"export-onnx": {}}, {"quantize-onnx": {"mode": "dynamic"}}],
        "bench": {"probes": ["accuracy", "latency", "size"], "rounds": 2, "runs": 2, "threads": 1},
        "gates": [{"size": {"at_most": "64MiB"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def sentence(stderr: str) -> str:
    """The one line that the user reads; fails where there is a traceback."""
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if line.startswith("paredown: ")]
    assert len(lines) == 1, stderr
    return lines[0]


def test_run_leaves_a_model_and_a_report(paredown: Run, recipe: Path, tmp_path: Path) -> None:
    """A recipe runs whole: the folder has what the page promises, --json is the only stdout, gates pass."""
    out = tmp_path / "out"
    code, stdout, _ = paredown("run", recipe, "--out", out, "--json")
    assert code == ExitCode.OK
    payload = json.loads(stdout)
    assert [artifact["label"] for artifact in payload["artifacts"]] == [
        "load",
        "export-onnx",
        "quantize-onnx",
    ]
    assert payload["report"]["verdicts"][0]["status"] == "pass"
    names = {path.name for path in out.iterdir()}
    assert {
        "model",
        "report.json",
        "report.html",
        "report.md",
        "junit.xml",
        "recipe.yaml",
        "run.json",
    } <= names
    shipped = Artifact.open(out / "model")
    assert shipped.id == payload["artifacts"][-1]["id"]
    code, _, stderr = paredown("run", recipe, "--out", out)
    assert code == ExitCode.OK
    assert "already in the store" in stderr


def test_a_failed_gate_leaves_with_three(paredown: Run, recipe: Path, tmp_path: Path) -> None:
    """The gate's verdict is the exit code."""
    tree = yaml.safe_load(recipe.read_text())
    tree["gates"] = [{"size": {"at_most": "1KiB"}}]
    recipe.write_text(yaml.safe_dump(tree))
    code, _, _ = paredown("run", recipe, "--out", tmp_path / "out")
    assert code == ExitCode.GATE_FAILED


def test_a_bug_of_ours_leaves_with_one(
    paredown: Run, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not the user's mistake shows its traceback and asks for a report."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(building, "run", broken)
    code, _, stderr = paredown("run", recipe, "--out", tmp_path / "out")
    assert code == ExitCode.BUG
    assert "ZeroDivisionError" in stderr
    assert "this is a bug of paredown" in stderr


Wrong = tuple[Callable[[dict[str, Any]], None], str]

MISTAKES: dict[str, Wrong] = {
    "unknown key": (lambda tree: tree.update(modle="x"), "unknown key 'modle'"),
    "unknown stage": (lambda tree: tree.update(stages=["exprot-onnx"]), "Did you mean 'export-onnx'"),
    "unknown option": (
        lambda tree: tree.update(stages=[{"export-onnx": {"opzet": 17}}]),
        "unknown key 'opzet'",
    ),
    "stages that do not chain": (
        lambda tree: tree.update(stages=[{"export-onnx": {}}, {"prune": {}}]),
        "'prune' takes torch and export-onnx gives onnx",
    ),
    "two names in one entry": (
        lambda tree: tree.update(stages=[{"export-onnx": {}, "prune": {}}]),
        "one name each",
    ),
    "no model": (lambda tree: tree.pop("model"), "names no model"),
    "no such model": (lambda tree: tree.update(model="./nowhere"), "nowhere"),
    "unknown probe": (lambda tree: tree["bench"].update(probes=["acuracy"]), "Did you mean 'accuracy'"),
    "unknown gate": (lambda tree: tree.update(gates=[{"siez": {}}]), "Did you mean 'size'"),
    "wrong unit": (lambda tree: tree.update(gates=[{"size": {"at_most": "3ms"}}]), "3ms"),
    "gate on a stranger": (
        lambda tree: tree.update(gates=[{"size": {"at_most": "1MiB", "candidate": "student"}}]),
        "student",
    ),
    "unknown task": (
        lambda tree: tree.update(task="text-clasification"),
        "Did you mean 'text-classification'",
    ),
    "unknown column": (lambda tree: tree["data"].update(columns={"text": "sentence"}), "sentence"),
    "candidate that is not in the run": (
        lambda tree: tree["bench"].update(candidates=["prune"]),
        "this run has",
    ),
}


@pytest.mark.parametrize("mistake", sorted(MISTAKES))
def test_a_mistake_in_a_recipe_is_one_sentence(
    paredown: Run, recipe: Path, tmp_path: Path, mistake: str
) -> None:
    """Exit code 2, one sentence, no traceback, and nothing delivered."""
    change, words = MISTAKES[mistake]
    tree = yaml.safe_load(recipe.read_text())
    change(tree)
    recipe.write_text(yaml.safe_dump(tree))
    code, stdout, stderr = paredown("run", recipe, "--out", tmp_path / "out")
    assert code == ExitCode.INPUT
    assert words in sentence(stderr)
    assert stdout == ""
    assert not (tmp_path / "out" / "model").exists()


def test_an_output_folder_in_use_is_left_alone(paredown: Run, recipe: Path, tmp_path: Path) -> None:
    """Somebody's files, and another recipe's run, are refused and untouched."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    code, _, stderr = paredown("run", recipe, "--out", mine)
    assert code == ExitCode.INPUT
    assert "in use" in sentence(stderr)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_a_tampered_artifact_is_never_loaded(
    paredown: Run, tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """One changed byte: exit code 2, the file is named, for every verb that takes an artifact."""
    artifact = building.run_stage(
        "export-onnx", text_model, options={}, data_config=_data(text_data), out=tmp_path / "onnx"
    )
    graph = artifact.path / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    for command in (
        ("verify", artifact.path),
        ("predict", artifact.path, "a good film"),
        ("quantize", artifact.path, "--out", tmp_path / "int8"),
        ("compare", text_model, artifact.path, "--data", text_data),
        ("bench", artifact.path, "--data", text_data),
    ):
        code, _, stderr = paredown(*command)
        assert code == ExitCode.INPUT, command
        assert "model.onnx" in sentence(stderr), command


def _data(folder: Path) -> Any:
    from compress.recipe import DataConfig

    return DataConfig(source=str(folder), calibration=16)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of a few hundred kilobytes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    process = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "paredown-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if process.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {process.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(
    paredown: Run, tmp_path: Path, full_disk: Path, text_data: Path
) -> None:
    """The store on a full disk: exit code 2, the way out, no half-written artifact; with room it goes on."""
    model = tiny.text_model(tmp_path / "wide", hidden=64, ffn=512)
    code, _, stderr = paredown(
        "export", model, "--data", text_data, "--out", tmp_path / "onnx", "--store", full_disk / "store"
    )
    assert code == ExitCode.INPUT
    assert "space" in sentence(stderr).lower()
    assert not (tmp_path / "onnx").exists()
    assert list((full_disk / "store" / "building").iterdir()) == []
    assert list((full_disk / "store" / "artifacts").iterdir()) == []


def test_plan_says_what_is_to_do_and_touches_nothing(paredown: Run, recipe: Path, tmp_path: Path) -> None:
    """Before and after a run, without creating a store."""
    store = tmp_path / "store"
    code, stdout, _ = paredown("plan", recipe, "--store", store, "--json")
    assert code == ExitCode.OK
    assert [step["ready"] for step in json.loads(stdout)] == [False, False, False]
    assert not store.exists()


def test_list_and_show_name_everything(paredown: Run) -> None:
    """Every entry has a line; show gives the options of a stage."""
    code, stdout, _ = paredown("list", "--json")
    assert code == ExitCode.OK
    listed = json.loads(stdout)
    assert set(listed["criterion"]) == {"activation", "fisher", "magnitude", "random", "taylor"}
    assert all(text for entries in listed.values() for text in entries.values())
    code, stdout, _ = paredown("show", "prune", "--json")
    assert code == ExitCode.OK
    rows = {row["name"]: row for row in json.loads(stdout)[0]["options"]}
    assert rows["keep"]["default"] == "0.5"
    assert all(row["meaning"] for row in rows.values())
    code, _, stderr = paredown("show", "prnue")
    assert code == ExitCode.INPUT
    assert "Did you mean 'prune'" in sentence(stderr)


def test_list_is_one_line_an_entry_and_fits_the_terminal(
    paredown: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped by kind and cut at 80 columns; uncut in a pipe; one kind in full, a wrong one named."""
    listing = json.loads(paredown("list", "--json")[1])
    monkeypatch.delenv("COLUMNS", raising=False)
    piped = paredown("list")[1]
    assert all(text.replace("``", "") in piped for entries in listing.values() for text in entries.values())
    monkeypatch.setenv("COLUMNS", "80")
    lines = paredown("list")[1].splitlines()
    assert max(map(len, lines)) <= 80
    count = sum(map(len, listing.values()))
    assert len([line for line in lines if line.startswith("  ")]) == count
    assert [line for line in lines if line.startswith("gate (")] == [f"gate ({len(listing['gate'])})"]
    code, stdout, _ = paredown("list", "gate")
    assert code == ExitCode.OK
    assert "stage (" not in stdout
    assert " ".join(listing["gate"]["regression"].split()) in " ".join(stdout.split())
    assert max(map(len, stdout.splitlines())) <= 80
    assert json.loads(paredown("list", "gate", "--json")[1]) == {"gate": listing["gate"]}
    code, _, stderr = paredown("list", "gates")
    assert code == ExitCode.INPUT
    assert "Unknown kind 'gates'. Did you mean 'gate'?" in sentence(stderr)


@pytest.mark.parametrize("name", catalog.names("recipe"))
def test_a_shown_recipe_can_be_saved_and_means_the_same(paredown: Run, tmp_path: Path, name: str) -> None:
    """What 'show' prints is the recipe itself, whatever the terminal's width, and can be planned."""
    code, stdout, _ = paredown("show", name)
    assert code == ExitCode.OK
    saved = tmp_path / "f.yaml"
    saved.write_text(stdout)
    assert read(str(saved)) == read(name)
    assert paredown("show", name, "--json")[1].count(name) > 0


def test_an_option_that_a_stage_does_not_have_is_named(
    paredown: Run, tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """--set reaches every option and refuses strangers with the list of those that there are."""
    code, _, stderr = paredown(
        "prune", text_model, "--data", text_data, "--set", "kepe=0.5", "--out", tmp_path / "pruned"
    )
    assert code == ExitCode.INPUT
    assert "unknown key 'kepe'" in sentence(stderr)
    assert "keep" in sentence(stderr)


def test_the_intruder_is_named_where_another_package_shadows_ours(tmp_path: Path) -> None:
    """Another distribution's 'bench' on the path is found before anything else goes wrong."""
    intruder = tmp_path / "elsewhere" / "bench"
    intruder.mkdir(parents=True)
    (intruder / "__init__.py").write_text("")
    (intruder / "cli.py").write_text("def register(app): pass\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'elsewhere')!r}); "
        "from paredown.app import main; main(['list'])"
    )
    process = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert process.returncode == ExitCode.INPUT
    assert "another distribution" in sentence(process.stderr)


@pytest.mark.slow
def test_two_processes_finetune_under_accelerate(tmp_path: Path, text_model: Path, text_data: Path) -> None:
    """``accelerate launch`` with two CPU processes trains one model, delivers it once and says so once."""
    out = tmp_path / "out"
    process = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
            *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
            *("--main_process_port", "0"),
            *("-m", "compress", "finetune", str(text_model), "--data", str(text_data)),
            *("--out", str(out), "--epochs", "1", "--threads", "1", "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=250,
        env={**os.environ, "PAREDOWN_STORE": str(tmp_path / "store"), "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    payload = json.loads(process.stdout)
    assert payload["facts"]["training"]["processes"] == 2
    assert Artifact.open(out).id == payload["id"]


def test_brackets_in_a_path_are_printed(
    paredown: Run, tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """A folder's name is no markup, and a line that is piped is not broken."""
    out = tmp_path / "int8[x] [/x]"
    code, _, stderr = paredown("export", text_model, "--data", text_data, "--out", out)
    assert code == 0, stderr
    code, stdout, _ = paredown("verify", out)
    assert code == 0
    assert stdout.startswith(f"{out}: ")
    assert len(stdout.splitlines()) == 1
    text = paredown("show", out)[1]
    assert "int8[x]" in text
    assert "[/x]" in text


@pytest.mark.parametrize(
    ("status", "code", "run_code"),
    [("pass", 0, 0), ("fail", 3, 3), ("inconclusive", 0, 4), ("anomalous", 0, 5)],
)
def test_the_demo_s_exit_code_tells_of_the_demo(
    paredown: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Any, code: int, run_code: int
) -> None:
    """Exit 0 when it ran and no gate failed; what a busy machine leaves open is said. 'run' keeps its own."""
    verdict = Verdict(
        gate="latency",
        candidate="after",
        status=status,
        metric="latency_p50_ms",
        value=0.2,
        interval=None,
        limit="1x",
        reason="what was seen",
    )
    outcome = workflow.Outcome(tmp_path, (), tiny_bench.report(verdicts=(verdict,)))
    monkeypatch.setattr(workflow, "run", lambda *_, **__: outcome)
    demo, stdout, stderr = paredown("demo")
    assert demo == code
    assert verdict.reason in " ".join(stdout.split())
    assert ("no gate failed" in stderr) is (code != run_code)
    assert paredown("run", "demo")[0] == run_code
