"""Masked language models through the verbs: texts are their own target, all the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_filling
from typer.testing import CliRunner

from bench.lanes import feeds
from bench.lanes.lane import Lane, LaneSpec
from bench.probes import Subject
from bench.record import document
from compress import catalog
from compress.errors import UserError
from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from deploy.predictor import Predictor
from paredown import workflow
from paredown.app import app

TASK = "fill-mask"
TRAINING = {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "precision": "fp32"}


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and stdout of a command; a ``UserError`` is raised as it is."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Every stage that a model goes through, and a bench of both ends."""
    root = tmp_path_factory.mktemp("filling")
    recipe = Recipe(
        model=str(tiny_filling.model(root / "model")),
        task=TASK,
        data=DataConfig(source=str(tiny_filling.write(root / "data")), calibration=16),
        threads=1,
        stages=(
            Named(name="load"),
            Named(name="finetune", options=TRAINING),
            Named(name="distill", options={"layers": 1, **TRAINING, "epochs": 2}),
            Named(name="prune", options={"keep": 0.5, "round_to": 8, "rows": 32, "recover": {"epochs": 1}}),
            Named(name="export-onnx"),
            Named(name="quantize-onnx", options={"mode": "static"}),
        ),
        bench=BenchConfig(
            probes=tuple(
                Named(name=name)
                for name in ("accuracy", "agreement", "divergence", "flips", "slices", "size")
            ),
            candidates=("finetune", "quantize-onnx"),
            rounds=2,
            runs=1,
            threads=1,
            allow_chance=True,
        ),
        gates=(Named(name="size", options={"at_most": "2x"}),),
    )
    outcome = workflow.run(recipe, root / "out")
    artifacts = {step.label: step.artifact for step in outcome.built}
    return SimpleNamespace(root=root, report=outcome.report, artifacts=artifacts, data=root / "data")


def test_texts_are_their_own_target_the_whole_way(built: SimpleNamespace) -> None:
    """Trained on masked words, scored by masked pieces, and what was learned is kept."""
    figures = {(m.candidate, m.metric): m.value for m in built.report.measurements if m.probe == "accuracy"}
    assert {name for _, name in figures} == {"accuracy", "mrr", "pseudo_perplexity"}
    assert figures["finetune", "pseudo_perplexity"] < len(tiny.vocabulary())  # that of a guess
    for candidate in ("finetune", "quantize-onnx"):
        assert 0 <= figures[candidate, "accuracy"] <= figures[candidate, "mrr"] <= 1
    assert [verdict.status for verdict in built.report.verdicts] == ["pass"]
    assert {"flips", "slices"} <= {m.finding.kind for m in built.report.measurements if m.finding}


def test_predictions_are_those_of_the_pipeline(built: SimpleNamespace) -> None:
    """Against transformers' own pipeline on the same weights: pieces and probabilities, to 1e-6."""
    from transformers import BertForMaskedLM, PreTrainedTokenizerFast, pipeline

    folder = built.artifacts["finetune"].path
    pipe = pipeline(
        TASK,
        model=BertForMaskedLM.from_pretrained(folder),
        tokenizer=PreTrainedTokenizerFast.from_pretrained(folder),
    )
    rows = ["the film is [MASK] and very good", "a [MASK] story was so [MASK]", "[MASK]"]
    with Predictor(built.artifacts["finetune"]) as predictor:
        mine = predictor.predict(rows)
    for text, prediction in zip(rows, mine, strict=True):
        theirs = pipe(text, top_k=5)
        listed = theirs if isinstance(theirs[0], list) else [theirs]
        assert prediction.candidates is not None
        assert prediction.truth is None
        for mask, expected in zip(prediction.candidates, listed, strict=True):
            assert [piece for piece, _ in mask] == [answer["token_str"] for answer in expected]
            assert [share for _, share in mask] == pytest.approx(
                [answer["score"] for answer in expected], abs=1e-6
            )


def test_half_precision_bundle_damage_and_predict(built: SimpleNamespace, tmp_path: Path) -> None:
    """The verbs around an artifact: each takes it as it takes any other."""
    graph = built.artifacts["export-onnx"].path
    half = ("quantize", graph, "--precision", "fp16", "--data", built.data, "--out", tmp_path / "half")
    assert run(*half)[0] == 0
    code, output = run("predict", tmp_path / "half", "a [MASK] and warm [MASK]", "--json")
    assert code == 0
    answer = json.loads(output)
    assert [len(mask) for mask in answer["candidates"]] == [5, 5]
    assert answer["label"] == " ".join(mask[0]["text"] for mask in answer["candidates"])
    assert run("bundle", built.artifacts["quantize-onnx"].path, "--out", tmp_path / "bundle")[0] == 0
    assert (
        "pieces of the vocabulary at each mask of a text" in (tmp_path / "bundle" / "README.md").read_text()
    )
    out = tmp_path / "damage.json"
    before, after = built.artifacts["finetune"].path, built.artifacts["quantize-onnx"].path
    assert run("damage", before, after, "--data", built.data, "--no-speed", "--json", out)[0] in (0, 4)
    report: Any = document.read(out)
    assert {"flips", "robustness"} <= {m.finding.kind for m in report.measurements if m.finding}


def test_what_a_vocabulary_takes_is_not_kept_for_many_batches(
    built: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of a lane at once, with what comes back, stays within the bound, a batch apart.

    A vocabulary at every token is many times as large as the tokens: counted by these alone, the outputs
    of 64 batches of DistilBERT (16 rows of 128 tokens) are 16 GB.
    """
    bound = 50_000
    monkeypatch.setattr(feeds, "_INFER_BYTES", bound)
    task = catalog.task(TASK)
    artifact = built.artifacts["finetune"]
    head = task.head_of(json.loads((artifact.path / "config.json").read_text()))
    rows = tiny_filling.texts(64, 7)
    subject = Subject(task=task, rows=rows, head=head, bench=BenchConfig(), baseline="one", seed=0)
    sizes_by_call: list[list[int]] = []
    with Lane(LaneSpec("one", artifact, "pytorch")) as lane:
        plain = lane.infer

        def counted(batches: Sequence[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
            outputs = plain(batches)
            pairs = zip(batches, outputs, strict=True)
            sizes_by_call.append(
                [sum(array.nbytes for arrays in pair for array in arrays.values()) for pair in pairs]
            )
            return outputs

        monkeypatch.setattr(lane, "infer", counted)
        answered = sum(len(picks) for picks, _, _ in feeds.stream(lane, subject, rows, 4))
    assert answered == len(rows)
    assert len(sizes_by_call) > 1
    assert all(sum(sizes[:-1]) <= bound for sizes in sizes_by_call)
    assert any(len(sizes) > 1 for sizes in sizes_by_call)
