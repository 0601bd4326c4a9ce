"""Models that pick one of several texts through the verbs, all the way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_choices
from typer.testing import CliRunner

from bench.record import document
from compress.errors import DataError, UserError
from compress.pipeline import building
from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from compress.stages import load
from deploy.predictor import Predictor
from paredown import workflow
from paredown.app import app

TASK = "multiple-choice"
TRAINING = {"epochs": 6, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"}


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Every stage that a model goes through, and a bench of both ends; the task is that of the folder."""
    root = tmp_path_factory.mktemp("choices")
    recipe = Recipe(
        model=str(tiny_choices.model(root / "model")),
        data=DataConfig(source=str(tiny_choices.write(root / "data")), calibration=16),
        threads=1,
        stages=(
            Named(name="load"),
            Named(name="finetune", options=TRAINING),
            Named(name="distill", options={"layers": 1, **TRAINING}),
            Named(name="prune", options={"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}}),
            Named(name="export-onnx"),
            Named(name="quantize-onnx", options={"mode": "static"}),
        ),
        bench=BenchConfig(
            probes=tuple(
                Named(name=name)
                for name in ("accuracy", "agreement", "divergence", "flips", "slices", "latency", "size")
            ),
            candidates=("finetune", "quantize-onnx"),
            rounds=2,
            runs=1,
            threads=1,
        ),
        gates=(
            Named(name="size", options={"at_most": "2x"}),
            Named(name="accuracy-drop", options={"at_most": "10pt"}),
        ),
    )
    outcome = workflow.run(recipe, root / "out")
    artifacts = {step.label: step.artifact for step in outcome.built}
    return SimpleNamespace(root=root, report=outcome.report, artifacts=artifacts, data=root / "data")


def test_what_is_learned_is_kept_the_whole_way(built: SimpleNamespace) -> None:
    """The folder says its task; the lovely choice is found at both ends, with an interval."""
    assert {artifact.task for artifact in built.artifacts.values()} == {TASK}
    figures = {m.candidate: m for m in built.report.measurements if m.probe == "accuracy"}
    assert {m.metric for m in figures.values()} == {"accuracy"}
    assert figures["finetune"].value > 0.95
    assert figures["quantize-onnx"].value > 0.9
    assert figures["quantize-onnx"].interval is not None
    assert {verdict.status for verdict in built.report.verdicts} == {"pass"}
    assert {"flips", "slices"} <= {m.finding.kind for m in built.report.measurements if m.finding}


def test_half_precision_predict_bundle_and_damage(built: SimpleNamespace, tmp_path: Path) -> None:
    """The verbs around an artifact: each takes it as it takes any other, rows of any number."""
    graph = built.artifacts["export-onnx"].path
    half = ("quantize", graph, "--precision", "fp16", "--data", built.data, "--out", tmp_path / "half")
    assert run(*half)[0] == 0
    choices = ("dull film", "cold story", "lovely ending", "ugly actor", "dull scene", "cold")
    for count in (3, 6):
        code, output = run("predict", tmp_path / "half", "the film is", *choices[:count], "--json")
        assert code == 0
        answer = json.loads(output)
        assert answer["label"] == "lovely ending"
        (candidates,) = answer["candidates"]
        assert {candidate["text"] for candidate in candidates} == set(choices[:count])
        assert sum(candidate["probability"] for candidate in candidates) == pytest.approx(1)
    code, output = run("predict", tmp_path / "half", "the film is", *choices[:3])
    assert output.splitlines()[0] == "lovely ending"
    assert "dull film" in output
    with pytest.raises(DataError, match="must be a list of at least two texts"):
        run("predict", tmp_path / "half", "the film is", "one")
    assert run("bundle", built.artifacts["quantize-onnx"].path, "--out", tmp_path / "bundle")[0] == 0
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "one of the choices that a row gives" in card
    assert 'paredown predict artifact "a question" "one of them" "another"' in card
    out = tmp_path / "damage.json"
    before, after = built.artifacts["finetune"].path, built.artifacts["quantize-onnx"].path
    assert run("damage", before, after, "--data", built.data, "--no-speed", "--json", out)[0] in (0, 4)
    report: Any = document.read(out)
    assert {"flips", "robustness"} <= {m.finding.kind for m in report.measurements if m.finding}


def test_the_predictor_takes_rows_as_tuples_and_mappings(built: SimpleNamespace) -> None:
    """A question with a list; other names; a row that was made without a context refuses one."""
    with Predictor(built.artifacts["quantize-onnx"]) as predictor:
        first, second = predictor.predict(
            [
                ("the film", ["dull film", "lovely film"]),
                {"question": "the film", "options": ["lovely a", "cold a", "ugly a"]},
            ]
        )
        assert [first.value, second.value] == ["lovely film", "lovely a"]
        with pytest.raises(DataError, match="leave context out"):
            predictor.predict([{"question": "a", "choices": ["x", "y"], "context": "a film"}])


def test_a_base_model_learns_to_choose_about_texts(tmp_path: Path) -> None:
    """A new head is trained, with contexts, and answers; question, choices and label alone say the task."""
    for name, count, seed in (("train", 240, 1), ("validation", 24, 2)):
        tiny.write_jsonl(
            tmp_path / "data" / f"{name}.jsonl", tiny_choices.questions(count, seed, context=True)
        )
    recipe = Recipe(
        model=str(tiny.base_model(tmp_path / "base")),
        task=TASK,
        data=DataConfig(source=str(tmp_path / "data")),
        threads=1,
        stages=(Named(name="load"), Named(name="finetune", options=TRAINING)),
    )
    trained = building.run(recipe)[-1].artifact
    plain = DataConfig(source=str(tiny_choices.write(tmp_path / "plain", train=8, evaluate=4)))
    assert load.infer_task(load.Config(model=recipe.model), plain) == TASK
    rows = tiny_choices.questions(40, 3, context=True)
    with Predictor(trained) as predictor:
        answers = predictor.predict([{k: cell for k, cell in row.items() if k != "label"} for row in rows])
    right = [answer.value == row["choices"][row["label"]] for answer, row in zip(answers, rows, strict=True)]
    assert sum(right) > 0.9 * len(rows)
