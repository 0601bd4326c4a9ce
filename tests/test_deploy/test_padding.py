"""A model whose answers depend on padding answers every row as it answers it alone, and says so."""

from __future__ import annotations

import json
from pathlib import Path

import hostile
import numpy as np
import pytest
import tiny
import tiny_deploy
import torch
import transformers

from bench.lanes import feeds
from compress.artifacts.artifact import Artifact
from compress.errors import ModelError, UserError
from compress.model import limit, padding
from compress.tasks import text_classification
from deploy.encoder import Encoder
from deploy.predictor import Predictor
from deploy.stages import build_tensorrt

TEXTS = ["good", "a good film", "a bad and dull film it was", "good", "the worst film", "bad film"]


def _left_padded(folder: Path) -> Path:
    """A BERT whose tokenizer pads on the left, so that padding moves the positions of the words."""
    tiny.text_model(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": "left"}))
    return folder


def _alone(folder: Path, text: str) -> np.ndarray:
    """What plain transformers says of a text by itself."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return np.asarray(model(**tokenizer([text], return_tensors="pt")).logits.softmax(-1)[0])


def _measured(folder: Path) -> padding.Effect | None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    processor = text_classification.load_processor(folder)
    return padding.measure(model, text_classification, processor, [{"text": text} for text in TEXTS], 32)


def test_a_model_that_reads_its_mask_is_not_moved_by_padding(tmp_path: Path) -> None:
    """Rounding is no effect."""
    effect = _measured(tiny.text_model(tmp_path / "model"))
    assert effect is not None
    assert effect.rows > 0
    assert not effect.matters


def test_padding_on_the_left_of_absolute_positions_is_measured(tmp_path: Path) -> None:
    """By the model itself, on real rows."""
    effect = _measured(_left_padded(tmp_path / "model"))
    assert effect is not None
    assert effect.matters


def test_outputs_that_are_no_numbers_matter() -> None:
    """NaN is not below any bound."""
    assert padding.Effect(float("nan"), 1.0, 1).matters
    assert padding.Effect(float("inf"), 1.0, 1).matters


def test_rows_of_one_length_share_a_batch() -> None:
    """Those that the limit makes equal too, and no more of them than asked for."""
    groups = padding.alike(np.array([5, 3, 9, 3, 3, 7]), 7, 2)
    assert groups == [[1, 3], [4], [0], [2, 5]]


@pytest.fixture
def sealed(tmp_path: Path) -> Artifact:
    """An artifact whose rows may not be padded."""
    folder = _left_padded(tmp_path / "sealed")
    limit.write(folder, limit.Limit(32, "model"), padding=False)
    return tiny_deploy.seal(folder)


def test_every_answer_is_that_of_the_row_alone(sealed: Artifact, tmp_path: Path) -> None:
    """In PyTorch and as a graph, in the order of the rows, with texts of many lengths in one batch."""
    graph = tiny_deploy.run("export_onnx", sealed, tmp_path / "onnx", tiny_deploy.text_rows())
    assert not limit.read_padding(graph.artifact.path)
    expected = [_alone(sealed.path, text) for text in TEXTS]
    for artifact in (sealed, graph.artifact):
        with Predictor(artifact, threads=1) as predictor:
            predictions = predictor.predict(TEXTS, batch_size=6)
        np.testing.assert_allclose([row.probabilities for row in predictions], expected, atol=1e-5)


def test_batches_of_an_encoder_are_of_one_length(sealed: Artifact) -> None:
    """Nothing in them is padding, and every row is in one of them."""
    encoder = Encoder.open(sealed.path, text_classification)
    rows = [{"text": text} for text in TEXTS]
    batches = encoder.batches(rows)
    assert all((batch.inputs["attention_mask"] == 1).all() for batch in batches)
    assert sum(len(batch.inputs["input_ids"]) for batch in batches) == len(rows)


def test_batches_that_are_timed_are_filled_with_rows_of_one_length() -> None:
    """As many as were asked for, beginning with the one that was picked."""
    assert feeds._of_one_length([4, 0, 2], [[1, 4, 3], [0, 2]]) == [4, 3, 1]
    assert feeds._of_one_length([0, 1, 2], [[1, 4, 3], [0]]) == [0, 0, 0]


def test_an_engine_is_refused(sealed: Artifact, tmp_path: Path) -> None:
    """Its profiles have fixed smallest sizes, to which rows are padded."""
    graph = tiny_deploy.run("export_onnx", sealed, tmp_path / "onnx", tiny_deploy.text_rows())
    with pytest.raises(UserError, match="padded"):
        build_tensorrt.refuse_padding(Encoder.open(graph.artifact.path, text_classification), tmp_path)


def test_a_damaged_field_is_named(tmp_path: Path) -> None:
    """With what is allowed."""
    (tmp_path / "encoding.json").write_text('{"max_length": 8, "padding": "no"}')
    with pytest.raises(ModelError, match=r"encoding.json: padding is 'no', allowed is true or false"):
        limit.read_padding(tmp_path)


def test_load_measures_says_and_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stderr, and a fact; a copy of the folder's small files keeps it."""
    folder = _left_padded(tmp_path / "model")
    rows = tiny.write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    code, out, err = hostile.run(capsys, "predict", folder, "--file", rows, "--store", tmp_path / "store")
    assert code == 0
    assert err.count("how far a row is padded") == 1
    answers = [json.loads(line)["probabilities"] for line in out.splitlines()]
    expected = [_alone(folder, text) for text in TEXTS]
    np.testing.assert_allclose([list(row.values()) for row in answers], expected, atol=1e-5)
