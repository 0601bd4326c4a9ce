"""Zero-shot classification through the verbs: candidate labels asked of a model of inference, all the way."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_inference
from typer.testing import CliRunner

from bench.record import document
from compress.artifacts.artifact import Artifact
from compress.errors import DataError, ModelError, RecipeError, UserError
from compress.pipeline import building
from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from paredown import workflow
from paredown.app import app

TASK = "zero-shot-classification"
TEMPLATE = "the film is {} ."
TRAINING = {"epochs": 12, "batch_size": 32, "learning_rate": 3e-3, "precision": "fp32"}


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def load(model: Path, data: Path | None = None, **options: object) -> Artifact:
    """The artifact that ``load`` makes of a folder for this task."""
    recipe = Recipe(
        model=str(model),
        task=TASK,
        data=DataConfig(source=str(data)) if data is not None else None,
        threads=1,
        stages=(Named(name="load", options=options),),
    )
    return building.run(recipe)[-1].artifact


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Every stage that a model goes through, and a bench of both ends."""
    root = tmp_path_factory.mktemp("zero")
    recipe = Recipe(
        model=str(tiny_inference.model(root / "model")),
        task=TASK,
        data=DataConfig(source=str(tiny_inference.write(root / "data")), calibration=16),
        threads=1,
        stages=(
            Named(name="load", options={"template": TEMPLATE}),
            Named(name="finetune", options=TRAINING),
            Named(name="distill", options={"layers": 1, **TRAINING}),
            Named(name="prune", options={"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}}),
            Named(name="export-onnx"),
            Named(name="quantize-onnx", options={"mode": "static"}),
        ),
        bench=BenchConfig(
            probes=tuple(Named(name=name) for name in ("accuracy", "agreement", "flips", "slices", "size")),
            candidates=("finetune", "quantize-onnx"),
            rounds=2,
            runs=1,
            threads=1,
        ),
        gates=(Named(name="size", options={"at_most": "2x"}),),
    )
    outcome = workflow.run(recipe, root / "out")
    artifacts = {step.label: step.artifact for step in outcome.built}
    return SimpleNamespace(root=root, report=outcome.report, artifacts=artifacts, data=root / "data")


def test_labels_of_the_data_go_the_whole_way(built: SimpleNamespace) -> None:
    """Every stage carries labels and template; what was learned is scored as single labels are."""
    for artifact in built.artifacts.values():
        field = json.loads((artifact.path / "config.json").read_text())["zero_shot"]
        assert field == {"labels": list(tiny_inference.MOODS), "template": TEMPLATE}
    figures = {(m.candidate, m.metric): m.value for m in built.report.measurements if m.probe == "accuracy"}
    assert {name for _, name in figures} == {"accuracy", "macro_f1", "mcc"}
    assert figures["finetune", "accuracy"] > 0.95
    assert figures["quantize-onnx", "accuracy"] > 0.9
    assert [verdict.status for verdict in built.report.verdicts] == ["pass"]
    assert {"flips", "slices"} <= {m.finding.kind for m in built.report.measurements if m.finding}


def test_predictions_are_those_of_the_pipeline(built: SimpleNamespace) -> None:
    """Against transformers' own pipeline on the same weights, to 1e-6."""
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast, pipeline

    from deploy.predictor import Predictor

    folder = built.artifacts["finetune"].path
    pipe = pipeline(
        TASK,
        model=BertForSequenceClassification.from_pretrained(folder),
        tokenizer=PreTrainedTokenizerFast.from_pretrained(folder),
    )
    rows = [row["text"] for row in tiny_inference.moods(8, 5)]
    with Predictor(built.artifacts["finetune"]) as predictor:
        mine = predictor.predict(rows)
    for text, prediction in zip(rows, mine, strict=True):
        theirs = pipe(text, list(tiny_inference.MOODS), hypothesis_template=TEMPLATE)
        assert prediction.label == theirs["labels"][0]
        assert prediction.probabilities is not None
        shares = dict(zip(tiny_inference.MOODS, prediction.probabilities, strict=True))
        assert [shares[label] for label in theirs["labels"]] == pytest.approx(theirs["scores"], abs=1e-6)


def test_half_precision_bundle_damage_and_predict(built: SimpleNamespace, tmp_path: Path) -> None:
    """The verbs around an artifact: each takes it as it takes any other."""
    graph = built.artifacts["export-onnx"].path
    half = ("quantize", graph, "--precision", "fp16", "--data", built.data, "--out", tmp_path / "half")
    assert run(*half)[0] == 0
    code, output = run("predict", tmp_path / "half", "a lovely and warm story", "--json")
    assert code == 0
    assert set(json.loads(output)["probabilities"]) == set(tiny_inference.MOODS)
    assert run("bundle", built.artifacts["quantize-onnx"].path, "--out", tmp_path / "bundle")[0] == 0
    assert "dull, lovely" in (tmp_path / "bundle" / "README.md").read_text()
    out = tmp_path / "damage.json"
    before, after = built.artifacts["finetune"].path, built.artifacts["quantize-onnx"].path
    assert run("damage", before, after, "--data", built.data, "--no-speed", "--json", out)[0] in (0, 4)
    report: Any = document.read(out)
    assert {"flips", "robustness"} <= {m.finding.kind for m in report.measurements if m.finding}


def test_labels_are_named_to_load_where_there_is_no_data(tmp_path: Path) -> None:
    """Options of ``load`` say what to choose between; without them, and without data, a sentence does."""
    model = tiny_inference.model(tmp_path / "model")
    with pytest.raises(ModelError, match="nothing says between which labels the model is to choose"):
        load(model)
    named = load(model, labels=("good", "bad", "cold"))
    code, output = run("predict", named.path, "a dark scene", "--json")
    assert code == 0
    answer = json.loads(output)
    assert set(answer["probabilities"]) == {"good", "bad", "cold"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"labels": ("good", "good")}, "give at least two different ones"),
        ({"labels": ("good",)}, "give at least two different ones"),
        ({"labels": ("0", "1")}, "are no words"),
        ({"template": "It is."}, "it must be a text with {} once"),
    ],
)
def test_labels_and_templates_that_cannot_be_asked(
    tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    """One sentence each."""
    data = tiny_inference.write(tmp_path / "data", train=20, evaluate=4)
    with pytest.raises(ModelError, match=sentence):
        load(tiny_inference.model(tmp_path / "model"), data, **options)


def test_a_model_without_entailment_and_other_labels_are_refused(tmp_path: Path) -> None:
    """Both say what was found and what is allowed; a classifier keeps its own labels."""
    data = tiny_inference.write(tmp_path / "data", train=40, evaluate=4)
    plain = tiny.text_model(tmp_path / "plain")
    with pytest.raises(ModelError, match="negative, positive, and zero-shot-classification asks a model of"):
        load(plain, data)
    recipe = Recipe(model=str(plain), stages=(Named(name="load", options={"labels": ("good", "bad")}),))
    with pytest.raises(RecipeError, match="labels is of models for zero-shot-classification, which"):
        building.run(recipe)
    named = load(tiny_inference.model(tmp_path / "model"), labels=("good", "bad"))
    config = DataConfig(source=str(data))
    with pytest.raises(DataError, match="which the model's head does not have: its labels are good, bad"):
        building.run_stage("finetune", named.path, options={}, data_config=config)
    with pytest.raises(ModelError, match="keeps the trained outputs of its model"):
        building.run_stage("finetune", named.path, options={"head": "new"}, data_config=config)


def test_a_folder_without_a_head_is_not_taken_for_one(tmp_path: Path) -> None:
    """Texts with labels fine-tune a base model as a classifier, as they did: inference cannot be made new."""
    from compress.stages import load as stage

    base = tiny.base_model(tmp_path / "base")
    data = DataConfig(source=str(tiny.text_data(tmp_path / "data", train=8, evaluate=4)))
    assert stage.infer_task(stage.Config(model=str(base)), data) == "text-classification"
