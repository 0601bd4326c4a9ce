"""Masked language models through the verbs: texts are their own target, all the way."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_filling
import torch
from typer.testing import CliRunner

from bench.record import document
from compress import catalog
from compress.errors import DataError, ModelError, UserError
from compress.recipe import BenchConfig, DataConfig, Named, Recipe
from compress.tasks import Prediction
from compress.tasks import _masks as masks
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
    artifacts = {one.label: one.artifact for one in outcome.built}
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
        assert prediction.choices is not None
        assert prediction.truth is None
        for mask, expected in zip(prediction.choices, listed, strict=True):
            assert [piece for piece, _ in mask] == [one["token_str"] for one in expected]
            assert [share for _, share in mask] == pytest.approx([one["score"] for one in expected], abs=1e-6)


def test_half_precision_bundle_damage_and_predict(built: SimpleNamespace, tmp_path: Path) -> None:
    """The verbs around an artifact: each takes it as it takes any other."""
    graph = built.artifacts["export-onnx"].path
    half = ("quantize", graph, "--precision", "fp16", "--data", built.data, "--out", tmp_path / "half")
    assert run(*half)[0] == 0
    code, shown = run("predict", tmp_path / "half", "a [MASK] and warm [MASK]", "--json")
    assert code == 0
    answer = json.loads(shown)
    assert [len(mask) for mask in answer["masks"]] == [5, 5]
    assert answer["label"] == " ".join(next(iter(mask)) for mask in answer["masks"])
    assert run("bundle", built.artifacts["quantize-onnx"].path, "--out", tmp_path / "bundle")[0] == 0
    assert (
        "pieces of the vocabulary at each mask of a text" in (tmp_path / "bundle" / "README.md").read_text()
    )
    out = tmp_path / "damage.json"
    before, after = built.artifacts["finetune"].path, built.artifacts["quantize-onnx"].path
    assert run("damage", before, after, "--data", built.data, "--no-speed", "--json", out)[0] in (0, 4)
    report: Any = document.read(out)
    assert {"flips", "robustness"} <= {m.finding.kind for m in report.measurements if m.finding}


def test_the_text_chooses_its_masks() -> None:
    """By hand: of eight words one is masked, with all its pieces, and of none none; the same every time."""
    words = [None, 0, 1, 2, 2, 3, 4, 5, 6, 7, None]
    first = masks.chosen("a text", words)
    assert (first == masks.chosen("a text", words)).all()
    assert len({words[i] for i in np.flatnonzero(first)}) == 1
    assert not masks.chosen("", [None, None]).any()
    counts = [masks.chosen(f"text {i}", list(range(40))).sum() for i in range(9)]
    assert counts == [6] * 9
    assert len({tuple(masks.chosen(f"text {i}", list(range(40)))) for i in range(9)}) == 9


def test_figures_by_hand() -> None:
    """Places 1 and 4 with probabilities 1/2 and 1/8: half found, MRR 5/8, perplexity 4."""
    task = catalog.task(TASK)
    head = task.head_of({"vocab_size": 8})
    one = Prediction("a b", "a b", truth=((1, 0.5), (4, 0.125)))
    figures = task.metrics(task.statistics([one], [("x",)], head).sum(axis=0), head)
    assert figures == pytest.approx({"accuracy": 0.5, "mrr": 0.625, "pseudo_perplexity": 4.0})
    assert not task.right(one, ("x",))
    with pytest.raises(DataError, match="has a mask in it, and nobody knows what stood there"):
        task.statistics([Prediction("a", "a")], [("a [MASK]",)], head)


def test_the_loss_is_that_of_the_model(tmp_path: Path) -> None:
    """Of masked pieces alone, as transformers computes it; a text with its own masks teaches nothing."""
    from transformers import BertForMaskedLM

    task = catalog.task(TASK)
    folder = tiny_filling.model(tmp_path / "model")
    network = BertForMaskedLM.from_pretrained(folder).eval()
    head, processor = task.head_of(network.config.to_dict()), task.load_processor(folder)
    batch = task.encode(tiny_filling.texts(6, 3), processor, head, 12)
    labels = torch.from_numpy(batch.labels)
    outputs = network(
        **{name: torch.from_numpy(array) for name, array in batch.inputs.items()}, labels=labels
    )
    assert task.loss(outputs, labels, head, batch).item() == pytest.approx(outputs.loss.item(), rel=1e-5)
    assert (task.positions(batch) == (batch.labels != -100)).all()
    own = task.encode([{"text": "the [MASK] is"}], processor, head, None)
    assert task.positions(own).sum() == 1
    assert math.isclose(
        task.loss({"logits": torch.zeros(1, 5, head.width)}, torch.from_numpy(own.labels), head, own).item(),
        0,
    )


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    """The sentence says what is wanted."""
    folder = tiny_filling.model(tmp_path / "model")
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text())
    content["mask_token"] = None
    file.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="has no mask_token, and fill-mask asks what stands at a mask"):
        catalog.task(TASK).load_processor(folder)
