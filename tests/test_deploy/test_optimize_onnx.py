"""Fusion: right under every mask, never of attention where heads are gone, refused where it does nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tiny_deploy

from compress.artifacts.artifact import Artifact
from compress.errors import ParityError, UserError
from compress.model import checkpoint
from compress.tasks import text_classification
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.graph.products import WeightProduct
from deploy.stages import optimize_onnx

ROWS = tiny_deploy.text_rows()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny text classifier as an FP32 graph."""
    folder = tmp_path_factory.mktemp("exported")
    return tiny_deploy.run(
        "export_onnx", tiny_deploy.text_artifact(folder / "torch"), folder / "onnx", ROWS
    ).artifact


def test_attention_and_gelu_are_fused_and_checked(exported: Artifact, tmp_path: Path) -> None:
    """Both layers, with parity under left-padded and holed masks on record; the plain graph is untouched."""
    run = tiny_deploy.run("optimize_onnx", exported, tmp_path / "fused", ROWS)
    assert run.facts["fused"] == {"operators": {"Attention": 2, "Gelu": 2}, "attention": True}
    assert run.facts["nodes"]["after"] < run.facts["nodes"]["before"] / 2
    names = " ".join(case["case"] for case in run.facts["parity"]["cases"])
    assert "left-padded" in names
    assert "holed" in names
    assert run.facts["parity"]["worst"]["largest"] < 1e-4
    assert graph_facts.read(run.artifact).fused
    assert not graph_facts.read(exported).fused
    with pytest.raises(UserError, match="is fused already"):
        tiny_deploy.run("optimize_onnx", run.artifact, tmp_path / "again", ROWS)


def test_everything_can_be_fused(exported: Artifact, tmp_path: Path) -> None:
    """With all options the norms take the residual sums, the bias and the embeddings."""
    run = tiny_deploy.run(
        "optimize_onnx",
        exported,
        tmp_path / "fused",
        ROWS,
        skip_layer_norm=True,
        embed_layer_norm=True,
        bias_gelu=True,
    )
    operators = run.facts["fused"]["operators"]
    assert operators["SkipLayerNormalization"] == 4
    assert operators["BiasGelu"] == 2


def test_the_default_of_onnxruntime_is_still_wrong(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the raw mask, parity fails under left padding or holes: the reason for our setting."""
    fusion_options = pytest.importorskip("onnxruntime.transformers.fusion_options")
    monkeypatch.setattr(fusion_options.FusionOptions, "use_raw_attention_mask", lambda self, raw: None)
    with pytest.raises(ParityError, match=r"the fused graph does not compute .*(left-padded|holed)"):
        tiny_deploy.run("optimize_onnx", exported, tmp_path / "fused", ROWS)


def test_attention_is_not_fused_where_heads_are_gone(tmp_path: Path) -> None:
    """One head removed from one layer: GELU is fused, attention nowhere, outputs right."""
    source = tiny_deploy.text_artifact(tmp_path / "torch")
    model = checkpoint.load(source.path, text_classification)
    attention = model.bert.encoder.layer[1].attention
    for linear in (attention.self.query, attention.self.key, attention.self.value):
        linear.weight.data, linear.bias.data = linear.weight.data[:24], linear.bias.data[:24]
        linear.out_features = 24
    attention.output.dense.weight.data = attention.output.dense.weight.data[:, :24]
    attention.output.dense.in_features = 24
    for name, value in (("num_attention_heads", 3), ("all_head_size", 24)):
        if hasattr(attention.self, name):
            setattr(attention.self, name, value)
    folder = tmp_path / "pruned"
    folder.mkdir()
    checkpoint.save(model, folder, source=source.path)
    pruned = tiny_deploy.run("export_onnx", tiny_deploy.seal(folder), tmp_path / "onnx", ROWS).artifact
    run = tiny_deploy.run("optimize_onnx", pruned, tmp_path / "fused", ROWS)
    assert run.facts["fused"] == {"operators": {"Gelu": 2}, "attention": False}
    counts = Counter(n.op_type for n in graph.load(run.artifact.file("model.onnx")).graph.node)
    assert counts["Attention"] == 0


def test_removed_heads_are_seen_by_the_widths() -> None:
    """Three products of one input are query, key and value; any other width than the model's tells."""

    def product(name: str, source: str, width: int) -> WeightProduct:
        return WeightProduct(name, "MatMul", source, f"w{name}", f"o{name}", False, (32, width), False)

    products = [product(n, "x", 32) for n in "qkv"] + [product("f", "z", 64)]
    assert optimize_onnx.heads_whole(products, 32)
    assert not optimize_onnx.heads_whole([*products, *(product(n, "y", 24) for n in "abc")], 32)
    assert not optimize_onnx.heads_whole(products[3:], 32)


def test_nothing_to_fuse_is_a_sentence(tmp_path: Path) -> None:
    """A graph without known patterns is refused instead of copied."""
    images = tiny_deploy.image_artifact(tmp_path / "vit")
    pictures = [{"image": np.full((8, 8), i, np.uint8)} for i in range(8)]
    exported = tiny_deploy.run("export_onnx", images, tmp_path / "onnx", pictures, opset=20).artifact
    with pytest.raises(UserError, match=r"nothing in .* was fused"):
        tiny_deploy.run("optimize_onnx", exported, tmp_path / "fused", pictures, attention=False)
