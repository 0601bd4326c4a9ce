"""Shorter vectors: cut inside the model and its graph, trained to be good in their first numbers, benched."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_deploy
import tiny_embedders
import torch
from torch.nn import functional

from bench import session
from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.distillation.distill import DistillationConfig
from compress.distillation.losses import likeness_loss
from compress.errors import ModelError, RecipeError, UserError
from compress.model import checkpoint, pretrained
from compress.recipe import BenchConfig, DataConfig, Named, Recipe, validate
from compress.stage import Context
from compress.stages import finetune, truncate_vectors
from compress.tasks import Head
from compress.tasks import _embedding as embedding
from compress.training.batching import to_torch
from compress.training.matryoshka import MatryoshkaObjective, check_lengths
from deploy import compare
from deploy.handover.bundle import bundle
from deploy.predictor import Predictor
from paredown import workflow

TASK = catalog.task("text-embedding")
TEXTS = ["the good film", "a", "the ending was very very dull"]


def loaded(root: Path, **options: Any) -> Artifact:
    """A sealed tiny embedder of 32 numbers."""
    folder = tiny_embedders.folder(root / "source", **options)
    out = root / "torch"
    out.mkdir()
    checkpoint.save(pretrained.load(folder, TASK, None, 0).model, out, source=folder)
    (out / "encoding.json").write_text('{"max_length": 32}')
    return tiny_deploy.seal(out, task="text-embedding")


def truncated(source: Artifact, out: Path, dimensions: int) -> SimpleNamespace:
    """What the stage makes of an artifact, and its facts."""
    out.mkdir()
    facts: dict[str, Any] = {}
    task = catalog.task(source.task)
    context = Context(
        out=out,
        scratch=out,
        task=task,
        data=None,
        seed=0,
        threads=1,
        device="cpu",
        record=facts.__setitem__,
    )
    truncate_vectors.run(source, truncate_vectors.Config(dimensions=dimensions), context)
    return SimpleNamespace(artifact=tiny_deploy.seal(out, task=source.task), facts=facts)


def vectors(artifact: Artifact) -> np.ndarray:
    """What an artifact answers to the texts."""
    with Predictor(artifact, threads=1) as predictor:
        return np.concatenate([np.asarray(answer.value) for answer in predictor.predict(TEXTS)])


@pytest.mark.parametrize("unit", [True, False])
def test_the_first_numbers_stay_in_model_and_graph(unit: bool, tmp_path: Path) -> None:
    """Normalized again where the whole vector is; the head, the graph and its INT8 say the new size."""
    source = loaded(tmp_path, normalize=unit)
    originals = vectors(source)
    cut = truncated(source, tmp_path / "cut", 8)
    expected = originals[:, :8]
    if unit:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors(cut.artifact), expected, atol=1e-6)
    assert cut.facts["vectors"] == {"before": 32, "after": 8, "unit": unit}
    assert TASK.head_of(checkpoint.read_config(cut.artifact.path)) == Head("vector", (), 8)
    rows = [{"text": row["text"]} for row in tiny_embedders.scored(32, 5)]
    onnx = tiny_deploy.run("export_onnx", cut.artifact, tmp_path / "onnx", rows).artifact
    np.testing.assert_allclose(vectors(onnx), expected, atol=1e-5)
    int8 = tiny_deploy.run("quantize_onnx", onnx, tmp_path / "int8", rows, mode="dynamic").artifact
    assert vectors(int8).shape == (3, 8)
    again = truncated(cut.artifact, tmp_path / "again", 4)
    shorter = expected[:, :4] / (np.linalg.norm(expected[:, :4], axis=1, keepdims=True) if unit else 1)
    np.testing.assert_allclose(vectors(again.artifact), shorter, atol=1e-6)


def test_a_folder_that_truncates_is_taken_at_its_word(tmp_path: Path) -> None:
    """truncate_dim of sentence-transformers: the first numbers, not normalized again; more is all."""
    folder = tiny_embedders.folder(tmp_path / "model")
    originals = vectors(loaded(tmp_path / "whole"))
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    for named, size in ((8, 8), (100, 32)):
        content = {**settings, "truncate_dim": named}
        tiny_embedders.write(folder / "config_sentence_transformers.json", content)
        model = pretrained.load(folder, TASK, None, 0).model
        assert TASK.head_of(model.config.to_dict()).size == size
        out = tmp_path / f"out-{named}"
        out.mkdir()
        checkpoint.save(model, out, source=folder)
        ours = vectors(tiny_deploy.seal(out, task="text-embedding"))
        np.testing.assert_allclose(ours, originals[:, :size], atol=1e-6)
    for wrong in (0, "eight"):
        tiny_embedders.write(
            folder / "config_sentence_transformers.json", {**settings, "truncate_dim": wrong}
        )
        with pytest.raises(ModelError, match="dimensions"):
            embedding.modules(folder)


def test_sentence_transformers_itself_gives_the_same_vectors(tmp_path: Path) -> None:
    """Its truncate_dim is ours: a folder that it saved with one is loaded to the same vectors."""
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    mean = {"embedding_dimension": 32, "pooling_mode": "mean"}
    folder = tiny_embedders.folder(tmp_path / "model", pooling=mean)
    theirs = library.SentenceTransformer(str(folder), device="cpu", truncate_dim=8)
    theirs.save(str(tmp_path / "saved"))
    model = pretrained.load(tmp_path / "saved", TASK, None, 0).model
    (tmp_path / "out").mkdir()
    checkpoint.save(model, tmp_path / "out", source=tmp_path / "saved")
    ours = vectors(tiny_deploy.seal(tmp_path / "out", task="text-embedding"))
    np.testing.assert_allclose(theirs.encode(TEXTS), ours, atol=1e-6)


def test_sentence_transformers_itself_loads_the_short_graph(tmp_path: Path) -> None:
    """Its ONNX backend gives the vectors of the cut model's graph."""
    pytest.importorskip("optimum.onnxruntime", reason="the library's ONNX backend is not installed")
    library = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    cut = truncated(loaded(tmp_path / "whole"), tmp_path / "cut", 8).artifact
    rows = [{"text": row["text"]} for row in tiny_embedders.scored(32, 5)]
    graph = tiny_deploy.run("export_onnx", cut, tmp_path / "onnx", rows).artifact
    place = bundle(graph, tmp_path / "bundle") / "sentence-transformers"
    backend = library.SentenceTransformer(str(place), backend="onnx", device="cpu")
    np.testing.assert_allclose(backend.encode(TEXTS, batch_size=1), vectors(graph), atol=1e-5)


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    """Vectors that are no longer than asked for, and models that make none."""
    source = loaded(tmp_path)
    with pytest.raises(
        ModelError, match=r"dimensions is 32, and the vectors of .* have 32 numbers: give fewer"
    ):
        truncated(source, tmp_path / "all", 32)
    classifier = tiny_deploy.text_artifact(tmp_path / "classifier")
    with pytest.raises(ModelError, match="a model of text-classification makes none: leave"):
        truncated(classifier, tmp_path / "none", 8)


def test_the_loss_of_every_length_is_added_up() -> None:
    """By hand: -log softmax of 20 times the cosines, of all four numbers, of two, and of one."""
    pairs = torch.tensor([[[1.0, 2, 0, 1], [2.0, 1, 1, 0]], [[0.0, 1, 3, 1], [1.0, 1, 2, 2]]])
    ids = np.arange(8).reshape(2, 2, 2)
    arrays = SimpleNamespace(inputs={"input_ids": ids, "attention_mask": np.ones_like(ids)})
    batch: Any = SimpleNamespace(labels=torch.tensor([1, 1]), arrays=arrays)

    def expected(length: int) -> torch.Tensor:
        queries, documents = (functional.normalize(pairs[:, i, :length], dim=-1) for i in (0, 1))
        logits = 20 * queries @ documents.T
        return -functional.log_softmax(logits, dim=-1).diagonal().mean()

    objective = MatryoshkaObjective(TASK, Head("vector", (), 4), (2, 1, 2))
    total = objective.of({"embedding": pairs}, batch)
    torch.testing.assert_close(total, expected(4) + expected(2) + expected(1))


def test_lengths_that_vectors_have_not_are_refused() -> None:
    """As long as the whole, of no vectors, and a student that nothing holds there."""
    check_lengths((), Head("single_label", ("a", "b")))
    with pytest.raises(RecipeError, match="matryoshka names 32 numbers of a vector, and the model's have 32"):
        check_lengths((8, 32), Head("vector", (), 32))
    with pytest.raises(RecipeError, match="this model makes none: leave it out"):
        check_lengths((8,), Head("single_label", ("a", "b")))
    with pytest.raises(RecipeError, match="give either matryoshka or rdrop"):
        validate(finetune.Config, {"matryoshka": [8], "rdrop": 1}, "the stage")
    assert validate(DistillationConfig, {"matryoshka": [8, 4]}, "it").matryoshka == (8, 4)


def data(folder: Path) -> DataConfig:
    """Queries with a document each."""
    tiny.write_jsonl(folder / "train.jsonl", tiny_embedders.searched(60, 1))
    tiny.write_jsonl(folder / "validation.jsonl", tiny_embedders.searched(12, 2))
    return DataConfig(source=str(folder), calibration=16)


def test_training_makes_the_first_numbers_better(tmp_path: Path) -> None:
    """The loss of the first four numbers falls further where it is part of what is minimized."""
    config = data(tmp_path / "data")
    from compress import data as reading

    losses = {}
    for name, lengths in (("plain", ()), ("nested", (4,))):
        source = loaded(tmp_path / name)
        out = tmp_path / f"{name}-trained"
        out.mkdir()
        context = Context(
            out=out,
            scratch=out,
            task=TASK,
            data=reading.load(config, TASK, 0).training,
            seed=0,
            threads=1,
            device="cpu",
            record=lambda name, value: None,
        )
        options = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "matryoshka": lengths, "keep": "last"}
        finetune.run(source, validate(finetune.Config, options, "finetune"), context)
        model = checkpoint.load(out, TASK)
        processor, head = TASK.load_processor(out), TASK.head_of(model.config.to_dict())
        rows = reading.load(config, TASK, 0).training.for_head(TASK, head).train[:16]
        batch = to_torch(TASK.encode(rows, processor, head, 32), np.arange(16), "cpu")
        with torch.inference_mode():
            short = model(**batch.inputs)["embedding"][..., :4]
        losses[name] = float(TASK.loss({"embedding": short}, batch.labels, head, batch.arrays))
    assert losses["nested"] < losses["plain"]


def test_a_recipe_distills_cuts_and_measures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Beginnings are held to the teacher's cosines; vectors of two sizes are scored, not held together."""
    folder = tiny_embedders.folder(tmp_path / "model")
    config = data(tmp_path / "data")
    student: dict[str, Any] = {
        "layers": 1,
        "epochs": 1,
        "batch_size": 16,
        "likeness_weight": 1,
        "matryoshka": [8],
    }
    recipe = Recipe(
        task="text-embedding",
        model=str(folder),
        data=config,
        threads=1,
        stages=(
            Named(name="distill", options=student),
            Named(name="truncate-vectors", options={"dimensions": 8}),
            Named(name="export-onnx"),
        ),
        bench=BenchConfig(
            threads=1,
            allow_chance=True,
            candidates=("load", "distill", "truncate-vectors", "export-onnx"),
            probes=(Named(name="accuracy"), Named(name="agreement"), Named(name="vector-storage")),
        ),
    )
    with caplog.at_level(logging.WARNING, "paredown"):
        report = workflow.run(recipe, tmp_path / "out").report
    assert report is not None
    sizes = {
        figure.candidate: figure.conditions["bytes"]
        for figure in report.measurements
        if figure.conditions.get("storage") == "int8"
    }
    assert sizes == {"load": 32, "distill": 32, "truncate-vectors": 8, "export-onnx": 8}
    scored = {figure.candidate for figure in report.measurements if figure.metric == "ndcg_10"}
    assert scored == set(sizes)
    agreeing = {figure.candidate for figure in report.measurements if figure.probe == "agreement"}
    assert agreeing == {"distill"}
    assert "the vectors of 'truncate-vectors' have 8 numbers and those of 'load' 32" in caplog.text


def test_vectors_of_two_sizes_are_not_compared(tmp_path: Path) -> None:
    """The verb says both sizes; a bench of nothing else has no agreement, and says why."""
    source = loaded(tmp_path)
    cut = truncated(source, tmp_path / "cut", 8).artifact
    with pytest.raises(
        UserError, match=r"a vector of 32 numbers and those of .* a vector of 8 numbers: they"
    ):
        compare.compare(source, cut, [{"text": text} for text in TEXTS])
    bench = BenchConfig(threads=1, probes=(Named(name="agreement"), Named(name="accuracy")))
    candidates = [session.CandidateSpec("whole", source.path), session.CandidateSpec("cut", cut.path)]
    report = session.measure(candidates, data(tmp_path / "data"), bench)
    assert {figure.probe for figure in report.measurements} == {"accuracy"}


def test_beginnings_are_held_to_the_whole_vectors_of_the_teacher() -> None:
    """The cosines of two numbers against those of four, whatever the teacher's own beginnings are like."""
    student = torch.tensor([[1.0, 0, 5, 1], [1.0, 1, 0, 2], [0.0, 1, 1, 1]])
    teacher = torch.tensor([[1.0, 0, 0], [1.0, 1, 0], [0.0, 1, 0]])
    assert float(likeness_loss(student[:, :2], teacher)) == pytest.approx(0)
    assert float(likeness_loss(student, teacher)) > 0
