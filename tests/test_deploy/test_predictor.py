"""Predictions: rows in every form, checks with row numbers, streams, agreement with the plain model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_deploy
import torch

import deploy
from compress import catalog
from compress.artifacts.artifact import Artifact, Origin
from compress.errors import ArtifactError, DataError, UserError
from compress.model import checkpoint
from deploy import opening, predictor
from deploy.predictor import Predictor, as_row

ROWS = tiny_deploy.text_rows(24)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The same tiny classifier as torch, ONNX and INT8 artifact."""
    folder = tmp_path_factory.mktemp("kinds")
    source = tiny_deploy.text_artifact(folder / "torch")
    exported = tiny_deploy.run("export_onnx", source, folder / "onnx", ROWS).artifact
    int8 = tiny_deploy.run("quantize_onnx", exported, folder / "int8", ROWS).artifact
    return {"torch": source, "onnx": exported, "int8": int8}


@pytest.mark.parametrize("kind", ["torch", "onnx", "int8"])
def test_any_artifact_predicts_what_the_model_says(kind: str, kinds: dict[str, Artifact]) -> None:
    """Labels and probabilities of every row, in order, whatever the batch size is."""
    task = catalog.load("task", "text-classification")
    model = checkpoint.load(kinds["torch"].path, task)
    processor = task.load_processor(kinds["torch"].path)
    expected = []
    for row in ROWS:
        encoded = processor(row["text"], return_tensors="pt")
        with torch.inference_mode():
            expected.append(model(**encoded).logits.softmax(-1)[0].numpy())
    with deploy.load(kinds[kind].path, threads=1) as predictor:
        predictions = predictor.predict([row["text"] for row in ROWS], batch_size=5)
        assert predictor.labels == ("negative", "positive")
    assert len(predictions) == len(ROWS)
    probabilities = np.array([prediction.probabilities for prediction in predictions])
    np.testing.assert_allclose(probabilities, expected, atol=0.02 if kind == "int8" else 1e-5)
    assert [prediction.label for prediction in predictions] == [
        predictor.labels[int(p.argmax())] for p in probabilities
    ]


def test_rows_come_as_texts_pairs_or_mappings(kinds: dict[str, Artifact]) -> None:
    """All of them may stand in one list; a pair differs from its first text."""
    with deploy.load(kinds["onnx"].path, threads=1) as predictor:
        predictions = predictor.predict(
            [
                "good film",
                {"text": "good film"},
                {"sentence": "good film"},
                ("good film", "bad ending"),
                ["good film"],
            ]
        )
    same = [predictions[i].probabilities for i in (0, 1, 2, 4)]
    for probabilities in same:
        assert probabilities == pytest.approx(same[0], abs=1e-6)
    assert predictions[3].probabilities != pytest.approx(same[0], abs=1e-4)


def test_a_stream_is_read_as_it_is_needed(kinds: dict[str, Artifact]) -> None:
    """Predictions of the first batch are there before the second batch is read."""
    read = 0

    def rows() -> Iterator[str]:
        nonlocal read
        for row in ROWS:
            read += 1
            yield row["text"]

    with deploy.load(kinds["onnx"].path, threads=1) as predictor:
        stream = predictor.stream(rows(), batch_size=4)
        next(stream)
        assert read == 4
        assert len(list(stream)) == len(ROWS) - 1


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": None}, r"row 2: 'text' is null; give a value"),
        ({"text": 3}, r"row 2: 'text' is int \(3\); it must be a text"),
        ({"words": "x"}, r"row 2 has no 'text' \(it has: words\); give one"),
        (("a", "b", "c"), r"row 2 is tuple; give a text, a tuple of at most 2 cells \(text, text_pair\)"),
        (7, r"row 2 is int; give a text"),
    ],
)
def test_rows_that_cannot_be_are_named(kinds: dict[str, Artifact], row: object, words: str) -> None:
    """The number of the row, what was found, what it must be."""
    with deploy.load(kinds["onnx"].path, threads=1) as predictor, pytest.raises(DataError, match=words):
        predictor.predict(["fine", row])  # type: ignore[list-item]


def test_words_are_split_at_blanks(tmp_path: Path) -> None:
    """A token classifier takes a text or a list of words and gives one tag a word."""
    artifact = tiny_deploy.token_artifact(tmp_path / "ner")
    with Predictor(artifact, threads=1) as predictor:
        text, words = predictor.predict(["the film was good", {"tokens": ["the", "film", "was", "good"]}])
    assert text == words
    assert isinstance(text.label, tuple)
    assert len(text.label) == 4
    columns = catalog.load("task", "token-classification").COLUMNS
    with pytest.raises(DataError, match="row 1: 'tokens' has no word in it"):
        as_row(" ", columns, "tags", 1)
    with pytest.raises(DataError, match="row 1: 'tokens' must be a text or a list of words"):
        as_row({"tokens": [1, 2]}, columns, "tags", 1)


def test_a_changed_artifact_is_refused_before_it_is_read(kinds: dict[str, Artifact], tmp_path: Path) -> None:
    """An added byte in the graph: what changed is named, and nothing was deserialized."""
    import shutil

    folder = tmp_path / "changed"
    shutil.copytree(kinds["onnx"].path, folder)
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ArtifactError, match=r"changed model\.onnx"):
        deploy.load(folder)


def test_a_wrong_runtime_is_refused(kinds: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    """By kind, by name, and where no runtime opens a kind."""
    with pytest.raises(UserError, match=r"runtime 'pytorch' opens torch artifacts; .* is onnx"):
        deploy.load(kinds["onnx"].path, runtime="pytorch")
    with pytest.raises(UserError, match=r"Unknown runtime 'orb'\. Did you mean 'ort'\?"):
        deploy.load(kinds["onnx"].path, runtime="orb")
    monkeypatch.setitem(opening.RUNTIMES, "onnx", "not-there")
    with pytest.raises(UserError, match="is onnx, and no runtime here opens that kind"):
        deploy.load(kinds["onnx"].path)


def test_importing_deploy_imports_nothing_heavy() -> None:
    """Torch and onnxruntime wait until something is opened."""
    import subprocess
    import sys

    code = "import sys, deploy; print(sorted({'torch', 'onnxruntime', 'onnx', 'numpy'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("facts", "columns", "roles"),
    [
        ({}, {"text": "sentence", "label": "label"}, ("text",)),
        ({}, {"text": "premise", "text_pair": "hypothesis", "label": "y"}, ("text", "text_pair")),
        ({"data": {"columns": {"text": "a"}}}, {"text": "b", "text_pair": "c"}, ("text",)),
        ({}, None, None),
    ],
)
def test_what_rows_have_is_known_from_the_ancestors(
    facts: dict[str, Any], columns: dict[str, str] | None, roles: tuple[str, ...] | None
) -> None:
    """A stage that read no rows passes on what the ones before it read; its own come first."""
    artifact: Any = SimpleNamespace(
        manifest=SimpleNamespace(facts=facts, origin=Origin(data_columns=columns))
    )
    assert predictor.made_with(artifact, catalog.load("task", "text-classification")) == roles
