"""Questions about texts through the verbs: predict, bench, damage, bundle, and fitted thresholds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
import tiny_questions
from typer.testing import CliRunner

from bench.record import document
from bench.report.damage import view
from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.distillation.losses import kept_at, kl_loss
from compress.errors import ModelError, UserError
from compress.pipeline import building
from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from compress.tasks import _decisions as decisions
from compress.tasks import _thresholds as thresholds
from compress.training.consistency import symmetric_kl
from deploy.checking import outputs
from deploy.encoder import Encoder
from deploy.handover.bundle import CARD
from deploy.opening import runner
from paredown import workflow
from paredown.app import app


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A random model of questions that may have no answer: graph, INT8, and INT8 with a fitted threshold."""
    root = tmp_path_factory.mktemp("questions")
    recipe = Recipe(
        model=str(tiny_questions.model(root / "model", thresholds=[0.0])),
        task="question-answering",
        data=DataConfig(
            source=str(tiny_questions.write(root / "data", train=60, unanswerable=0.4)),
            calibration=16,
            max_length=24,
        ),
        threads=1,
        stages=(
            Named(name="load"),
            Named(name="export-onnx"),
            Named(name="quantize-onnx", options={"mode": "dynamic"}),
            Named(name="fit-threshold"),
        ),
        bench=BenchConfig(
            probes=tuple(
                Named(name=name)
                for name in ("accuracy", "agreement", "flips", "slices", "robustness", "divergence", "size")
            ),
            candidates=("load", "fit-threshold"),
            rounds=2,
            runs=1,
            threads=1,
            allow_chance=True,
        ),
        gates=(Named(name="size", options={"at_most": "2x"}),),
    )
    outcome = workflow.run(recipe, root / "out")
    by_label = {one.label: one.artifact for one in outcome.built}
    return SimpleNamespace(root=root, report=outcome.report, artifacts=by_label, data=root / "data")


def test_every_figure_and_finding_of_text_answers(built: SimpleNamespace) -> None:
    """F1, exact match and both kinds of rows with paired intervals; findings show texts; gates judge."""
    report = built.report
    figures = {
        m.metric: m for m in report.measurements if m.candidate == "fit-threshold" and m.probe == "accuracy"
    }
    assert list(figures) == [
        "f1",
        "exact_match",
        "answered_f1",
        "answered_exact_match",
        "unanswerable_accuracy",
    ]
    assert figures["f1"].difference_interval is not None
    assert all(
        re.fullmatch(r"at fitted thresholds; [01]\.\d{4} at the usual ones", f.notes[0])
        for f in figures.values()
    )
    assert figures["exact_match"].paired is not None
    assert 0 < figures["f1"].blind < 1
    outcome = view.collect(report)
    assert outcome is not None
    by_kind: dict[str, Any] = outcome.findings
    assert {"flips", "robustness"} <= by_kind.keys()
    robustness = by_kind["robustness"]
    assert "context stays as it is, since answers are parts of it" in robustness.notes
    assert [verdict.status for verdict in report.verdicts] == ["pass"]
    assert "exact" in (built.root / "out" / "report.html").read_text()


def test_a_threshold_is_fitted_stored_and_used(built: SimpleNamespace) -> None:
    """It scores no worse on the selection rows, stands in config.json alone, and predictions follow it."""
    before, after = built.artifacts["quantize-onnx"], built.artifacts["fit-threshold"]
    fact = after.manifest.facts["thresholds"]
    assert fact["fitted"]["f1"] >= fact["before"]["f1"]
    assert json.loads((after.path / "config.json").read_text())["decision_thresholds"] == fact["values"]
    changed = {
        name
        for name, entry in after.manifest.files.items()
        if entry.sha256 != before.manifest.files[name].sha256
    }
    assert changed <= {"config.json"}
    assert after.kind == "onnx"
    row = tiny_questions.questions(1, 9)[0]
    config = json.loads((after.path / "config.json").read_text())
    answers = {}
    for threshold in (-1e9, 1e9):
        head = catalog.task("question-answering").head_of({**config, thresholds.FIELD: [threshold]})
        assert head.thresholds == (threshold,)
        encoder = Encoder.open(after.path, catalog.task("question-answering"))
        pieces = encoder.pieces([row])
        batch = encoder.batch(pieces.rows)
        with runner(after, threads=1) as running:
            predicted = encoder.task.decode(running.infer(batch.inputs), batch, head)
        answers[threshold] = encoder.task.joined(predicted, pieces, head)[0].value
    assert answers[-1e9] == ""
    assert answers[1e9] in row["context"]
    assert answers[1e9]


def test_a_stage_of_any_kind_keeps_the_kind(built: SimpleNamespace) -> None:
    """The same stage on weights: what it makes is of the kind that it takes."""
    recipe = Recipe(
        model=str(built.root / "model"),
        task="question-answering",
        data=DataConfig(source=str(built.data), calibration=16, max_length=24),
        threads=1,
        stages=(Named(name="load"), Named(name="fit-threshold")),
    )
    fitted = building.run(recipe)[-1].artifact
    assert fitted.kind == "torch"
    assert fitted.manifest.lineage[0].stage == "load"
    assert "thresholds" in fitted.manifest.facts


def test_predict_takes_a_question_and_a_text(built: SimpleNamespace, tmp_path: Path) -> None:
    """Two texts, or a file; an empty one is refused with its row."""
    artifact = built.artifacts["export-onnx"].path
    context = "the actor was good and the scene was bad " * 5
    code, shown = run("predict", artifact, "the good", context, "--json")
    assert code == 0
    answer = json.loads(shown)
    if answer["span"] is not None:
        assert answer["label"] == context[slice(*answer["span"])]
    assert 0 <= answer["score"] <= 1
    assert 0 <= answer["no_answer"] <= 1
    assert "truncated" not in answer
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", [{"question": "the good", "context": context}] * 3)
    code, shown = run("predict", artifact, "--file", file)
    assert [json.loads(line)["label"] for line in shown.splitlines()] == [answer["label"]] * 3
    with pytest.raises(UserError, match="row 1: 'question' is empty; give it a text"):
        run("predict", artifact, " ", context)
    with pytest.raises(UserError, match="row 1 has no 'context'"):
        run("predict", artifact, "the good")


def test_a_bundle_says_how_to_ask(built: SimpleNamespace, tmp_path: Path) -> None:
    """The card names what an answer is, windows, and two texts."""
    code, _ = run("bundle", built.artifacts["quantize-onnx"].path, "--out", tmp_path / "bundle")
    assert code == 0
    card = (tmp_path / "bundle" / CARD).read_text()
    assert "a part of the text, with its probability" in card
    assert "is read in overlapping windows" in card
    assert 'paredown predict artifact "a question" "a context"' in card
    config = next((tmp_path / "bundle").rglob("config.pbtxt")).read_text()
    assert re.search(r'name: "start_logits" data_type: TYPE_FP32 dims: \[ -1 \]', config)


def test_calibration_is_refused(built: SimpleNamespace, tmp_path: Path) -> None:
    """Two outputs have no one temperature; the sentence says what to do."""
    with pytest.raises(ModelError, match="several outputs: leave the stage out"):
        run("calibrate", built.root / "model", "--data", built.data, "--out", tmp_path / "x")


def test_outputs_over_positions_are_compared_line_by_line(built: SimpleNamespace) -> None:
    """By hand: one line a window, as wide as the longest; what is no position has no probability."""
    task = catalog.task("question-answering")
    source: Artifact = built.artifacts["export-onnx"]
    encoder = Encoder.open(source.path, task)
    rows = tiny_questions.questions(3, 5)
    pieces = encoder.pieces(rows)
    batches = [encoder.batch([row]) for row in pieces.rows]
    with runner(source, threads=1) as running:
        collected = outputs.collect(running.infer, batches, task, encoder.head)
        results = [running.infer(batch.inputs) for batch in batches]
    width = max(batch.inputs["input_ids"].shape[1] for batch in batches)
    assert collected.arrays["start_logits"].shape == (len(pieces.rows), width)
    assert dict(collected.links) == {"start_logits": "softmax", "end_logits": "softmax"}
    for i, (batch, result) in enumerate(zip(batches, results, strict=True)):
        counts = task.positions(batch)
        assert counts is not None
        line = np.full(width, decisions.ABSENT, dtype=np.float32)
        line[: counts.shape[1]][counts[0]] = result["start_logits"][0][counts[0]]
        np.testing.assert_array_equal(collected.arrays["start_logits"][i], line)
    assert collected.divergence_from(collected).tolist() == [0.0] * len(pieces.rows)


def test_kl_over_positions_is_that_of_those_that_count() -> None:
    """By hand: two positions of three count; p = (1/2, 1/2), q = (1/4, 3/4): KL = ln 2 - ln 3 / 2."""
    import torch

    teacher = torch.tensor([[0.0, 99.0, 0.0]])
    student = torch.tensor([[0.0, -5.0, float(np.log(3))]])
    counts = torch.tensor([[True, False, True]])
    masked = kept_at(
        counts, torch.zeros(2, 1)
    )  # as a teacher's answers are masked, whatever the student's precision
    assert masked.tolist() == [[0.0, 0.0, 0.0]]
    assert kept_at(counts, torch.tensor([[1.0], [2.0]])).tolist() == [[1.0, 0.0, 2.0]]
    rounded = kl_loss(student.bfloat16(), masked, "positions", 1.0, counts)
    assert rounded.item() == pytest.approx(np.log(2) - np.log(3) / 2, rel=2e-2)
    loss = kl_loss(student, teacher, "positions", 1.0, counts)
    assert loss.item() == pytest.approx(np.log(2) - np.log(3) / 2, rel=1e-5)


def test_consistency_over_positions_is_that_of_those_that_count() -> None:
    """By hand, for the same p and q: KL(p || q) + KL(q || p) = (ln 3) / 4."""
    import torch

    first, second = torch.tensor([[0.0, 99.0, 0.0]]), torch.tensor([[0.0, -5.0, float(np.log(3))]])
    counts = torch.tensor([[True, False, True]])
    assert symmetric_kl(first, second, "positions", counts).item() == pytest.approx(np.log(3) / 4, rel=1e-5)


def test_a_graph_whose_outputs_are_no_lengths_is_refused(built: SimpleNamespace, tmp_path: Path) -> None:
    """An output with another number of axes is named before anything runs."""
    from deploy import content

    source: Artifact = built.artifacts["export-onnx"]
    model = onnx.load(source.file("model.onnx"))
    assert [len(value.type.tensor_type.shape.dim) for value in model.graph.output] == [2, 2]
    content.check(source)
    with runner(source, threads=1) as running:
        assert {spec.name: spec.shape for spec in running.outputs} == {
            "start_logits": (None, None),
            "end_logits": (None, None),
        }
    with runner(built.artifacts["load"], threads=1) as running:
        assert {spec.name: spec.shape for spec in running.outputs} == {
            "start_logits": (None, None),
            "end_logits": (None, None),
        }


def test_damage_of_two_models(built: SimpleNamespace, tmp_path: Path) -> None:
    """The verb damage on text answers."""
    out = tmp_path / "damage.json"
    code, _ = run(
        "damage",
        built.artifacts["load"].path,
        built.artifacts["fit-threshold"].path,
        "--data",
        built.data,
        "--json",
        out,
    )
    assert code in (0, 4)
    report: Any = document.read(out)
    outcome = view.collect(report)
    assert outcome is not None
    assert {"flips", "robustness"} <= outcome.findings.keys()


def test_the_shipped_recipe_runs(built: SimpleNamespace, tmp_path: Path) -> None:
    """``qa-int8`` on a tiny model: every stage, probe and gate; the gates of size and speed do not fit it."""
    out = tmp_path / "out"
    code, _ = run(
        "run",
        "qa-int8",
        "--model",
        built.root / "model",
        "--data",
        built.data,
        "--out",
        out,
        "--set",
        "data.max_length=24",
        "--set",
        "bench.rounds=2",
        "--set",
        "bench.runs=2",
        "--set",
        "bench.allow_chance=true",
    )
    assert code in (0, 3, 4)
    report: Any = document.read(out / "report.json")
    gates = {verdict.gate for verdict in report.verdicts}
    assert gates == {"accuracy-drop", "latency", "size", "execution", "truncation"}
    cut = next(verdict for verdict in report.verdicts if verdict.gate == "truncation")
    assert cut.status == "pass"
