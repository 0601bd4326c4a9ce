"""Comparing: figures equal to numpy's, the planted bad layer found, refusals with their reasons."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_deploy
from onnx import numpy_helper

from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from compress.label_names import LabelNames
from compress.model import checkpoint
from compress.tasks import text_classification as task
from deploy.checking import layers
from deploy.checking.layers import LayerError
from deploy.compare import compare
from deploy.encoder import Encoder
from deploy.graph import nodes as graph
from deploy.opening import runner
from deploy.truncation import Truncation

ROWS = tiny_deploy.text_rows(40)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """The same tiny classifier as torch, ONNX and INT8 artifact."""
    folder = tmp_path_factory.mktemp("kinds")
    source = tiny_deploy.text_artifact(folder / "torch")
    exported = tiny_deploy.run("export_onnx", source, folder / "onnx", ROWS).artifact
    int8 = tiny_deploy.run("quantize_onnx", exported, folder / "int8", ROWS).artifact
    return {"torch": source, "onnx": exported, "int8": int8}


def _logits(artifact: Artifact) -> np.ndarray:
    encoder = Encoder.open(artifact.path, task)
    with runner(artifact, threads=1) as opened:
        return np.concatenate([opened.infer(encoder.feed([row]))["logits"].copy() for row in ROWS])


def test_an_export_is_the_same_model(kinds: dict[str, Artifact]) -> None:
    """Errors of rounding only, every row agrees, no layer diverges."""
    comparison = compare(kinds["torch"], kinds["onnx"], ROWS, threads=1, layers=True)
    assert (comparison.rows, comparison.decisions, comparison.agreeing, comparison.agreement) == (
        40,
        40,
        40,
        1.0,
    )
    assert comparison.outputs[0].largest < 1e-5
    assert comparison.divergence_p99 < 1e-9
    assert len(comparison.layers) == 2
    assert all(layer.relative < 1e-5 for layer in comparison.layers)
    assert comparison.first_diverging is None
    assert [side["provider"] for side in comparison.provenance] == ["torch eager", "CPUExecutionProvider"]


def test_figures_are_numpys(kinds: dict[str, Artifact]) -> None:
    """Largest, mean, RMSE, agreement and KL of INT8, computed apart, one row at a time."""
    comparison = compare(kinds["onnx"], kinds["int8"], ROWS, threads=1, batch_size=1)
    a, b = _logits(kinds["onnx"]).astype(float), _logits(kinds["int8"]).astype(float)
    gap = np.abs(a - b)
    output = comparison.outputs[0]
    assert (output.largest, output.mean) == (pytest.approx(gap.max()), pytest.approx(gap.mean()))
    assert output.rmse == pytest.approx(np.sqrt((gap**2).mean()))
    p = np.exp(a) / np.exp(a).sum(1, keepdims=True)
    q = np.exp(b) / np.exp(b).sum(1, keepdims=True)
    kl = (p * np.log(p / q)).sum(1)
    assert comparison.divergence_mean == pytest.approx(kl.mean(), rel=1e-3)
    assert comparison.divergence_p99 == pytest.approx(np.percentile(kl, 99), rel=1e-3)
    assert comparison.agreeing == int((a.argmax(1) == b.argmax(1)).sum())
    assert comparison.as_json()["agreement"] == comparison.agreeing / 40


def test_the_first_bad_layer_is_named(kinds: dict[str, Artifact], tmp_path: Path) -> None:
    """A weight of the second layer is spoiled in the graph: the first layer agrees, the second does not."""
    model = graph.load(kinds["onnx"].file("model.onnx"))
    node = next(n for n in model.graph.node if "layer.1/output/dense/MatMul" in n.name)
    for tensor in model.graph.initializer:
        if tensor.name == node.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(-3 * numpy_helper.to_array(tensor), tensor.name))
    import shutil

    folder = tmp_path / "spoiled"
    shutil.copytree(kinds["onnx"].path, folder)
    (folder / "manifest.json").unlink()
    onnx.save(model, str(folder / "model.onnx"))
    spoiled = tiny_deploy.seal(folder, "onnx", "export-onnx")
    comparison = compare(kinds["torch"], spoiled, ROWS, threads=1, layers=True)
    assert comparison.layers[0].relative < 1e-5
    assert comparison.layers[1].relative > 0.05
    assert comparison.first_diverging == 2


def test_layers_of_int8_are_found_by_their_names(kinds: dict[str, Artifact]) -> None:
    """Quantization keeps the names: both layers are compared, and INT8 is a little off in both."""
    comparison = compare(kinds["onnx"], kinds["int8"], ROWS, threads=1, layers=True, layer_limit=1e-6)
    assert [layer.layer for layer in comparison.layers] == [1, 2]
    assert all(0 < layer.relative < 0.1 for layer in comparison.layers)
    assert comparison.first_diverging == 1


def test_a_limit_that_is_never_reached_names_no_layer() -> None:
    """NaN is beyond every limit."""
    errors = [LayerError(1, 0.01), LayerError(2, 0.2), LayerError(3, float("nan"))]
    assert layers.first_diverging(errors, 0.05) == 2
    assert layers.first_diverging(errors, 0.5) == 3
    assert layers.first_diverging(errors[:2], 0.5) is None


def test_models_that_do_not_mean_the_same_are_refused(kinds: dict[str, Artifact], tmp_path: Path) -> None:
    """Another task, another depth, other labels: each is its own sentence."""
    tokens = tiny_deploy.token_artifact(tmp_path / "ner")
    with pytest.raises(UserError, match=r"does text-classification and .* does token-classification"):
        compare(kinds["torch"], tokens, ROWS)
    deeper = tiny_deploy.text_artifact(tmp_path / "deeper", layers=3)
    with pytest.raises(UserError, match=r"has 2 layers and .* has 3"):
        compare(kinds["torch"], deeper, ROWS, threads=1, layers=True)
    model = checkpoint.load(kinds["torch"].path, task)
    model.config.id2label = {0: "no", 1: "yes"}
    model.config.label2id = {"no": 0, "yes": 1}
    folder = tmp_path / "renamed"
    folder.mkdir()
    checkpoint.save(model, folder, source=kinds["torch"].path)
    with pytest.raises(UserError, match=r"mean negative, positive and those .* no, yes"):
        compare(kinds["torch"], tiny_deploy.seal(folder), ROWS)


def test_each_side_keeps_its_own_limit(kinds: dict[str, Artifact], tmp_path: Path) -> None:
    """An export that takes 6 tokens is compared with the original on whole rows, and what it cut is said."""
    short = tiny_deploy.run("export_onnx", kinds["torch"], tmp_path / "short", ROWS, max_length=6).artifact
    comparison = compare(kinds["torch"], short, ROWS, threads=1)
    cut = sum(len(row["text"].split()) + 2 > 6 for row in ROWS)
    first, second = comparison.truncation
    assert first == Truncation(rows=len(ROWS), cut=0, limit=32)
    assert second == Truncation(rows=len(ROWS), cut=cut, limit=6, whose="export")
    assert comparison.outputs[0].largest > 1e-3
    fits = [row for row in ROWS if len(row["text"].split()) + 2 <= 6]
    assert compare(kinds["torch"], short, fits, threads=1).outputs[0].largest < 1e-5
    assert comparison.as_json()["truncation"][1]["cut"] == cut


def test_token_models_are_compared_at_words(tmp_path: Path) -> None:
    """Every word decides something; padding and sub-words do not."""
    source = tiny_deploy.token_artifact(tmp_path / "ner")
    rows = [{"tokens": row["text"].split()} for row in ROWS]
    exported = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", rows).artifact
    comparison = compare(source, exported, rows, threads=1)
    assert comparison.decisions == sum(len(row["tokens"]) for row in rows)
    assert comparison.agreeing == comparison.decisions


def test_names_that_were_guessed_stand_beside_the_figures(tmp_path: Path) -> None:
    """A head of LABEL_0 and LABEL_1, and rows whose labels mean them by their order: typed, in the JSON."""
    folder = tiny_deploy.text_artifact(tmp_path / "torch").path
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "encoding.json").write_text('{"max_length": 32, "padding": false}')
    artifact = tiny_deploy.seal(folder)
    comparison = compare(artifact, artifact, ROWS, threads=1, label_order=("0 = LABEL_0", "1 = LABEL_1"))
    assert comparison.labels == (LabelNames(unknown=True),) * 2
    assert comparison.pads == (False, False)
    values = json.loads(json.dumps(comparison.as_json()))
    assert [names["unknown"] for names in values["labels"]] == [True, True]
    assert values["label_order"] == ["0 = LABEL_0", "1 = LABEL_1"]
    assert values["pads"] == [False, False]
