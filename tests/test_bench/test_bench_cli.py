"""The verbs bench, gate and report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tiny
import tiny_bench
from typer.testing import CliRunner

from bench.record import document
from compress.errors import UserError
from deploy.opening import RUNTIMES
from paredown.app import app
from paredown.verbs import _candidates


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The hand-made report in a file."""
    path = tmp_path / "report.json"
    document.write(path, document.to_json(tiny_bench.report()))
    return path


def budget(folder: Path, text: str) -> Path:
    """A budget file."""
    path = folder / "budget.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("limit", "code", "word"), [("25MB", 0, "pass"), ("10MB", 3, "fail")])
def test_gate_judges_and_exits(written: Path, tmp_path: Path, limit: str, code: int, word: str) -> None:
    """``gate`` prints a line a gate, writes JUnit, and exits 0 or 3."""
    junit = tmp_path / "out.xml"
    exit_code, stdout = run(
        "gate", written, "--budget", budget(tmp_path, f"- size: {{at_most: {limit}}}"), "--junit", junit
    )
    assert exit_code == code
    assert stdout.split()[0] == word
    assert junit.read_text().count("<testcase") == 1


def test_gate_with_json_prints_nothing_else(written: Path, tmp_path: Path) -> None:
    """``--json`` puts the verdicts on stdout, and the exit code stays."""
    code, stdout = run("gate", written, "--budget", budget(tmp_path, "- size: {at_most: 1MB}"), "--json")
    assert code == 3
    assert [verdict["status"] for verdict in json.loads(stdout)] == ["fail"]


def test_gate_refuses_what_is_no_report(tmp_path: Path) -> None:
    """A missing report is a sentence."""
    with pytest.raises(UserError, match="cannot be read"):
        run("gate", tmp_path / "none.json", "--budget", budget(tmp_path, "- size: {at_most: 1MB}"))


def test_report_writes_what_was_asked(written: Path, tmp_path: Path) -> None:
    """Each form that is named is written and its path printed; with none, the table is shown."""
    paths = [tmp_path / name for name in ("a.html", "a.md", "a.xml")]
    code, stdout = run("report", written, "--html", paths[0], "--markdown", paths[1], "--junit", paths[2])
    assert code == 0
    assert stdout.split() == [str(path) for path in paths]
    assert all(path.is_file() for path in paths)
    _, stdout = run("report", written)
    assert "baseline" in stdout
    _, stdout = run("report", written, "--json")
    assert json.loads(stdout)["report"]["baseline"] == "before"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two sealed folders, and the fake runtime in place of PyTorch."""
    monkeypatch.setitem(RUNTIMES, "torch", tiny_bench.FAKE)
    first = tiny_bench.fake_artifact(tmp_path / "teacher", bytes_=5000)
    second = tiny_bench.fake_artifact(tmp_path / "student", bytes_=100)
    return first.path, second.path


def test_bench_measures_folders_and_writes_the_report(
    models: tuple[Path, Path], text_data: Path, tmp_path: Path
) -> None:
    """Candidates are named by their folders; the file holds the report, and the budget decides the exit."""
    file = tmp_path / "out" / "report.json"
    gates = budget(tmp_path, "- size: {at_most: 0.9x}\n- accuracy-drop: {at_most: 50pt}\n")
    code, stdout = run(
        "bench", *models, "--data", text_data, "--json", file, "--html", tmp_path / "r.html",
        "--budget", gates, "--probes", "size", "--threads", 1,
    )  # fmt: skip
    assert code == 0
    assert "baseline" in stdout
    assert "passed all 2 gates" in stdout
    report = document.read(file)
    assert [candidate.name for candidate in report.candidates] == ["teacher", "student"]
    assert {measurement.probe for measurement in report.measurements} == {"size", "accuracy"}
    assert (tmp_path / "r.html").is_file()


def test_bench_is_tracked_where_it_is_asked(
    models: tuple[Path, Path], text_data: Path, tmp_path: Path
) -> None:
    """``--track tensorboard:FOLDER`` leaves all figures there; an unknown tracker is refused."""
    pytest.importorskip("tensorboard", reason="pip install '.[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ("bench", *models, "--data", text_data, "--probes", "size", "--threads", 1)
    with pytest.raises(UserError, match=r"Unknown tracker 'tensorbord'\. Did you mean 'tensorboard'"):
        run(*arguments, "--track", "tensorbord")
    code, _ = run(*arguments, "--track", f"tensorboard:{tmp_path / 'logs'}")
    assert code == 0
    (folder,) = (tmp_path / "logs").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    (teacher,), (student,) = (events.Scalars(f"bench/{name}/size_bytes") for name in ("teacher", "student"))
    assert teacher.value > student.value > 0
    assert "verdict/text_summary" in events.Tags()["tensors"]


def test_bench_prints_json_alone_on_stdout(models: tuple[Path, Path], text_data: Path) -> None:
    """``--json -`` gives the report on stdout and nothing else; options reach the configuration."""
    code, stdout = run(
        "bench", f"a={models[0]}", f"b={models[1]}", "--data", text_data, "--json", "-",
        "--probes", "latency", "--batch-sizes", "1,2", "--lengths", "data,9",
        "--rounds", 2, "--runs", 1, "--baseline", "b", "--threads", 1,
    )  # fmt: skip
    assert code == 0
    report = document.from_json(stdout, "stdout")
    assert report.baseline == "b"
    points = {
        (measurement.conditions["batch_size"], measurement.conditions["length"])
        for measurement in report.measurements
    }
    assert points == {(1, "data"), (1, 9), (2, "data"), (2, 9)}


def test_load_is_asked_for_by_options(models: tuple[Path, Path], text_data: Path) -> None:
    """``--rate`` and ``--concurrency`` add their probes to those that are named."""
    code, stdout = run(
        "bench", models[1], "--data", text_data, "--json", "-", "--probes", "size", "--threads", 1,
        "--rate", "500/s", "--concurrency", 2,
    )  # fmt: skip
    assert code == 0
    report = document.from_json(stdout, "stdout")
    assert {measurement.probe for measurement in report.measurements} == {"size", "open_loop", "closed_loop"}
    assert report.find("student", "open_loop_p50_ms", rate="500/s") is not None
    assert report.find("student", "closed_loop_rows_per_s", clients=2) is not None
    with pytest.raises(UserError, match=r"probe 'open-loop': rate: '50' has no unit. Allowed units: /s"):
        run("bench", models[1], "--data", text_data, "--rate", "50")


def test_an_open_verdict_exits_4_or_as_told(written: Path, tmp_path: Path) -> None:
    """Inconclusive is a code of its own unless ``--inconclusive`` says what it counts as."""
    gates = budget(tmp_path, "- accuracy-drop: {at_most: 1pt}")
    for more, expected in (((), 4), (("--inconclusive", "pass"), 0), (("--inconclusive", "fail"), 3)):
        assert run("gate", written, "--budget", gates, *more)[0] == expected
    assert run("gate", written, "--budget", gates, "--inconclusive", "maybe")[0] == 2


@pytest.mark.parametrize(
    ("inconclusive", "kind", "message", "headline"),
    [
        (None, "skipped", "inconclusive: ", "after: inconclusive in 1 of 2 gates (accuracy-drop)"),
        (
            "pass",
            "skipped",
            "inconclusive, counted as passed (--inconclusive pass): ",
            "after: inconclusive in 1 of 2 gates (accuracy-drop), counted as passed (--inconclusive pass)",
        ),
        (
            "fail",
            "failure",
            "inconclusive, counted as failed (--inconclusive fail): ",
            "after: FAILED 1 of 2 gates (accuracy-drop); 1 inconclusive, counted as failed "
            "(--inconclusive fail)",
        ),
    ],
)
def test_what_an_open_verdict_was_told_to_count_as_is_shown(
    written: Path, tmp_path: Path, inconclusive: str | None, kind: str, message: str, headline: str
) -> None:
    """JUnit, Markdown, page, terminal and the sealed report agree with the exit code."""
    gates = budget(tmp_path, "- accuracy-drop: {at_most: 1pt}\n- size: {at_most: 25MB}")
    paths = [tmp_path / name for name in ("j.xml", "r.md", "r.html", "r.json")]
    options = ("--junit", "--markdown", "--html", "--report")
    more = [argument for pair in zip(options, paths, strict=True) for argument in pair]
    more += ["--inconclusive", inconclusive] if inconclusive else []
    _, stdout = run("gate", written, "--budget", gates, *more)
    (suite,) = ElementTree.fromstring(paths[0].read_bytes())
    assert (suite.get("failures"), suite.get("skipped")) == (("1", "0") if kind == "failure" else ("0", "1"))
    assert suite[0][0].tag == kind
    assert str(suite[0][0].get("message")).startswith(message)
    assert headline in stdout
    assert all(headline.split(": ", 1)[1] in path.read_text() for path in paths[1:3])
    # The stored report is shown later as it was judged.
    assert headline in run("report", paths[3])[1]
    assert document.read(paths[3]).inconclusive == inconclusive


def test_gate_writes_the_judged_report_sealed(written: Path, tmp_path: Path) -> None:
    """``--report`` keeps the verdicts with the figures, in a file that is read without a warning."""
    out = tmp_path / "judged.json"
    code, _ = run("gate", written, "--budget", budget(tmp_path, "- size: {at_most: 1MB}"), "--report", out)
    assert code == 3
    assert document.read(out).verdicts[0].status == "fail"
    assert len(json.loads(out.read_text())["checksum"]) == 64


def test_an_edited_report_is_not_judged(written: Path, tmp_path: Path) -> None:
    """A figure changed by hand is noticed by gate, report and baseline alike."""
    written.write_text(written.read_text().replace('"value": 20000000.0', '"value": 10000000.0'))
    for arguments in (
        ("gate", written, "--budget", budget(tmp_path, "- size: {at_most: 10MB}")),
        ("report", written),
        ("baseline", "save", written, "--to", tmp_path / "kept"),
    ):
        with pytest.raises(UserError, match="was changed after it was written"):
            run(*arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("teacher=pytorch", ("teacher", "pytorch", {})),
        (
            "teacher=pytorch:mode=compiled,precision=bf16",
            ("teacher", "pytorch", {"mode": "compiled", "precision": "bf16"}),
        ),
        ("a=ort:threads=2", ("a", "ort", {"threads": 2})),
    ],
)
def test_a_runtime_option_is_taken_apart(text: str, expected: object) -> None:
    """Name, runtime and options, with values as YAML reads them."""
    assert _candidates.parse_runtime(text) == expected


@pytest.mark.parametrize(
    "text", ["pytorch", "=pytorch", "a=", "a=pytorch:", "a=pytorch:mode", "a=pytorch:mode=x,"]
)
def test_a_runtime_option_of_another_form_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(UserError, match="--runtime"):
        _candidates.parse_runtime(text)


def test_candidates_are_named_by_folder_or_by_hand(tmp_path: Path) -> None:
    """A folder's or hub id's last part, or NAME=PATH; a folder with a sign in its name is a folder."""
    (tmp_path / "int8").mkdir()
    (tmp_path / "a=b").mkdir()
    assert _candidates.parse_candidate(f"{tmp_path}/int8/") == ("int8", f"{tmp_path}/int8/")
    assert _candidates.parse_candidate("someone/model") == ("model", "someone/model")
    assert _candidates.parse_candidate(f"mine={tmp_path}/int8") == ("mine", f"{tmp_path}/int8")
    assert _candidates.parse_candidate(f"{tmp_path}/a=b") == ("a=b", f"{tmp_path}/a=b")


def test_mistakes_are_named_before_anything_runs(models: tuple[Path, Path], text_data: Path) -> None:
    """Wrong lists, lengths, probes and runtime names get their sentence."""
    for arguments, reason in (
        (("--batch-sizes", "1,,2"), "--batch-sizes takes values with commas"),
        (("--batch-sizes", "one"), "bench: batch_sizes.0"),
        (("--lengths", "short"), "a length is a number of tokens or the word 'data'"),
        (("--probes", "speed"), "Unknown probe 'speed'"),
        (("--runtime", "other=pytorch"), "--runtime names other; the candidates are: teacher"),
    ):
        with pytest.raises(UserError, match=reason):
            run("bench", models[0], "--data", text_data, *arguments)


def test_the_verbs_import_nothing_heavy() -> None:
    """Importing the command line loads neither torch nor numpy nor matplotlib."""
    heavy = "('torch', 'numpy', 'matplotlib', 'transformers')"
    code = f"import sys, paredown.verbs.bench; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert process.stdout.strip() == "[]"


def test_data_without_labels_is_refused_for_accuracy(models: tuple[Path, Path], tmp_path: Path) -> None:
    """Rows without labels can be timed; accuracy says what to do."""
    rows = [{"text": row["text"]} for row in tiny.sentences(20, 1)]
    file = tiny.write_jsonl(tmp_path / "plain" / "validation.jsonl", rows)
    with pytest.raises(UserError, match="the evaluation rows have no labels, which accuracy needs"):
        run("bench", models[0], "--data", file.parent, "--probes", "accuracy")


def test_evaluation_rows_alone_measure_a_plain_model_folder(
    tmp_path: Path, text_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a validation split only gives the model's own answers: no training rows are asked for."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    data = tiny.text_data(tmp_path / "data")
    (data / "train.jsonl").unlink()
    rows = [json.loads(line) for line in (data / "validation.jsonl").read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(text_model)
    encoded = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True)
    with torch.inference_mode():
        answers = AutoModelForSequenceClassification.from_pretrained(text_model)(**encoded).logits.argmax(-1)
    right = sum(int(answer) == row["label"] for answer, row in zip(answers, rows, strict=True))
    out = tmp_path / "report.json"
    code, _ = run("bench", text_model, "--data", data, "--probes", "accuracy", "--threads", 1, "--json", out)
    assert code == 0
    (accuracy,) = [
        measurement for measurement in document.read(out).measurements if measurement.metric == "accuracy"
    ]
    assert accuracy.value == pytest.approx(right / len(rows))
