"""An embedder's graph: one vector a text, all products in INT8, a folder for sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import tiny
import tiny_deploy
import tiny_embedders
from typer.testing import CliRunner

from compress import catalog
from compress.errors import RecipeError
from compress.model import checkpoint, pretrained
from compress.recipe import read
from deploy.handover.bundle import bundle
from deploy.predictor import Predictor
from paredown import workflow
from paredown.app import app

TEXTS = ["the good film", "a", "the ending was very very dull"]
ROWS = [{"text": row["text"]} for row in tiny_embedders.scored(48, 5)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny embedder with a prompt: weights, FP32 and INT8 graphs."""
    root = tmp_path_factory.mktemp("embedders")
    task = catalog.task("text-embedding")
    folder = tiny_embedders.folder(root / "source", prompts={"query": "the very "}, default="query")
    model = pretrained.load(folder, task, None, 0).model
    out = root / "torch"
    out.mkdir()
    checkpoint.save(model, out, source=folder)
    (out / "encoding.json").write_text('{"max_length": 32}')
    torch = tiny_deploy.seal(out, task="text-embedding")
    onnx = tiny_deploy.run("export_onnx", torch, root / "onnx", ROWS).artifact
    int8 = tiny_deploy.run("quantize_onnx", onnx, root / "int8", ROWS, mode="dynamic")
    return SimpleNamespace(root=root, torch=torch, onnx=onnx, int8=int8)


def vectors(artifact: object, rows: list[object]) -> list[np.ndarray]:
    """What an artifact answers."""
    with Predictor(artifact, threads=1) as predictor:  # type: ignore[arg-type]
        return [np.asarray(prediction.value) for prediction in predictor.predict(rows)]  # type: ignore[arg-type]


def test_a_text_has_one_vector_and_a_pair_two(models: SimpleNamespace) -> None:
    """Texts and pairs may stand side by side; the graph answers as the weights do."""
    rows = [TEXTS[0], (TEXTS[0], TEXTS[1]), TEXTS[2]]
    before, after = vectors(models.torch, rows), vectors(models.onnx, rows)
    assert [part.shape for part in before] == [(1, 32), (2, 32), (1, 32)]
    for weights, graph in zip(before, after, strict=True):
        np.testing.assert_allclose(weights, graph, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(graph, axis=1), 1, atol=1e-5)


def test_no_product_of_an_embedder_is_its_head(models: SimpleNamespace) -> None:
    """The pooled states are the residual stream, which products of every layer reach: all become INT8."""
    layers, products_a_layer = 2, 4  # query, key and value are one product after merging
    assert len(models.int8.facts["quantized"]["products"]) == layers * products_a_layer
    for plain, rounded in zip(vectors(models.onnx, TEXTS), vectors(models.int8.artifact, TEXTS), strict=True):
        assert float((plain * rounded).sum()) > 0.98


def test_predict_prints_vectors_and_the_cosine_of_a_pair(models: SimpleNamespace) -> None:
    """A JSON list for a text; for a pair its cosine, and both vectors in the JSON."""
    runner = CliRunner()
    text = runner.invoke(app, ["predict", str(models.onnx.path), TEXTS[0]])
    assert len(json.loads(text.stdout)) == 32
    pair = runner.invoke(app, ["predict", str(models.onnx.path), TEXTS[0], TEXTS[2], "--json"])
    answer = json.loads(pair.stdout)
    first, second = np.asarray(answer["vectors"])
    assert answer["cosine"] == pytest.approx(float(first @ second), abs=1e-5)


def test_a_bundle_holds_a_folder_for_sentence_transformers(models: SimpleNamespace, tmp_path: Path) -> None:
    """The graph under onnx/, its vector as the only state, modules that take it so, limit and prompt."""
    out = bundle(models.int8.artifact, tmp_path / "out") / "sentence-transformers"
    assert [entry["type"].rpartition(".")[2] for entry in json.loads((out / "modules.json").read_text())] == [
        "Transformer",
        "Pooling",
    ]
    assert json.loads((out / "1_Pooling" / "config.json").read_text())["pooling_mode_cls_token"]
    assert json.loads((out / "sentence_bert_config.json").read_text())["max_seq_length"] == 32
    settings = json.loads((out / "config_sentence_transformers.json").read_text())
    assert settings["prompts"][settings["default_prompt_name"]] == "the very "
    session = onnxruntime.InferenceSession(out / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    encoder_inputs = {"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.ones((1, 3), dtype=np.int64)}
    encoder_inputs["token_type_ids"] = np.zeros((1, 3), dtype=np.int64)
    (states,) = session.run(["last_hidden_state"], encoder_inputs)
    assert states.shape == (1, 1, 32)
    assert "a vector of 32 numbers" in (tmp_path / "out" / "README.md").read_text()


def test_sentence_transformers_itself_loads_the_folder(models: SimpleNamespace, tmp_path: Path) -> None:
    """The library gives our vectors, where it and what its ONNX backend needs are installed."""
    pytest.importorskip("optimum.onnxruntime", reason="the library's ONNX backend is not installed")
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    out = bundle(models.int8.artifact, tmp_path / "out") / "sentence-transformers"
    theirs = library.SentenceTransformer(str(out), backend="onnx", device="cpu").encode(TEXTS, batch_size=1)
    ours = np.concatenate([vectors(models.int8.artifact, [text])[0] for text in TEXTS])
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


def test_the_shipped_recipe_runs_on_embedders_alone() -> None:
    """It names the task and its stages; pooling options are those of load."""
    recipe = read("embedding-int8", ["stages.0.load.pooling=cls"])
    assert recipe.task == "text-embedding"
    assert recipe.stages[0].options == {"pooling": "cls"}
    with pytest.raises(RecipeError, match="nothing"):
        read("embedding-int8", ["nothing=1"])


@pytest.mark.slow
def test_the_shipped_recipe_runs(tmp_path: Path) -> None:
    """From a folder of sentence-transformers to verdicts: queries are scored, every gate is judged."""
    folder = tiny_embedders.folder(tmp_path / "model")
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", tiny_embedders.searched(48, 1))
    tiny.write_jsonl(tmp_path / "data" / "validation.jsonl", tiny_embedders.searched(12, 2))
    quick = ("bench.rounds=2", "bench.runs=2", "bench.threads=1", "threads=1", "data.calibration=16")
    chosen = (f"model={folder}", f"data.source={tmp_path / 'data'}", "bench.allow_chance=true")
    recipe = read("embedding-int8", [*chosen, *quick])
    report = workflow.run(recipe, tmp_path / "out").report
    assert report is not None
    assert {verdict.gate for verdict in report.verdicts} >= {gate.name for gate in recipe.gates}
    figures = {m.metric: m for m in report.measurements if m.probe == "accuracy"}
    assert list(figures) == ["ndcg_10", "mrr_10", "recall_1", "recall_10"]
    assert figures["ndcg_10"].conditions["rows"] == 12
    assert 0 < figures["ndcg_10"].value <= 1
