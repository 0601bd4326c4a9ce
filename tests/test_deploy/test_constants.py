"""Weights behind Identity, Cast, Transpose or Constant nodes, and what every later step makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny
import tiny_deploy
from onnx import TensorProto, helper, numpy_helper

from compress.artifacts.artifact import Artifact
from deploy import session
from deploy.graph import constants, ending, products
from deploy.graph import nodes as graph

ROWS = tiny_deploy.text_rows()
WEIGHT = np.arange(16, dtype=np.float32).reshape(4, 4) / 10


def _graph(nodes: list[onnx.NodeProto], *initializers: onnx.TensorProto) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    graph_proto = helper.make_graph(nodes, "g", ends[:1], ends[1:], list(initializers))
    return helper.make_model(graph_proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _run(model: onnx.ModelProto) -> np.ndarray:
    infer = session.infer_with(session.open_session(model.SerializeToString(), threads=1))
    return infer({"x": np.ones((2, 4), np.float32)})["y"]


def _two(*before: onnx.NodeProto, first: str, second: str) -> list[onnx.NodeProto]:
    """Two products, one after the other."""
    return [
        *before,
        helper.make_node("MatMul", ["x", first], ["h"], "one"),
        helper.make_node("MatMul", ["h", second], ["y"], "two"),
    ]


NODE = helper.make_node
HIDDEN = {
    "identity": _two(NODE("Identity", ["w"], ["a"], "i"), first="w", second="a"),
    "chain": _two(
        NODE("Identity", ["w"], ["a"], "i"), NODE("Identity", ["a"], ["b"], "j"), first="a", second="b"
    ),
    "cast": _two(NODE("Cast", ["w"], ["a"], "c", to=TensorProto.FLOAT), first="w", second="a"),
    "transposes": _two(
        NODE("Transpose", ["w"], ["a"], "t", perm=[1, 0]),
        NODE("Identity", ["w"], ["w2"], "i"),
        NODE("Transpose", ["w2"], ["b"], "u"),
        first="a",
        second="b",
    ),
    "constant": _two(
        NODE("Constant", [], ["a"], "c", value=numpy_helper.from_array(WEIGHT)), first="w", second="a"
    ),
}


@pytest.mark.parametrize("form", HIDDEN)
def test_a_hidden_weight_becomes_an_initializer_and_is_found(form: str) -> None:
    """Both products are weight products afterwards, the numbers are the same, and equal weights are one."""
    model = _graph(HIDDEN[form], numpy_helper.from_array(WEIGHT, "w"))
    expected = _run(model)
    assert constants.fold(model) > 0
    onnx.checker.check_model(model)
    assert [product.name for product in products.find(model)] == ["one", "two"]
    assert len(model.graph.node) == 2
    assert len(model.graph.initializer) == (2 if form == "constant" else 1)
    np.testing.assert_array_equal(_run(model), expected)


def test_a_graph_without_hidden_weights_keeps_its_bytes() -> None:
    """Numbers and vectors in Constant nodes, and what is computed, stay where the exporter put them."""
    scale = NODE("Constant", [], ["s"], "s", value=numpy_helper.from_array(np.float32(2)))
    model = _graph(
        [*_two(scale, first="w", second="w")[:2], NODE("Mul", ["h", "s"], ["y"], "m")],
        numpy_helper.from_array(WEIGHT, "w"),
    )
    before = model.SerializeToString(deterministic=True)
    assert constants.fold(model) == 0
    assert model.SerializeToString(deterministic=True) == before


def test_a_branch_reads_the_new_names_and_keeps_its_weights() -> None:
    """A weight that only the graph of a branch takes is not dropped, and is found under its new name."""
    out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
    branches = {
        f"{way}_branch": helper.make_graph([NODE("MatMul", ["x", "a"], ["r"], way)], way, [], [out])
        for way in ("then", "else")
    }
    yes = numpy_helper.from_array(np.asarray(True), "yes")
    model = _graph(
        [NODE("Identity", ["w"], ["a"], "i"), NODE("If", ["yes"], ["y"], "if", **branches)],
        numpy_helper.from_array(WEIGHT, "w"),
        yes,
    )
    expected = _run(model)
    assert constants.fold(model) == 1
    np.testing.assert_array_equal(_run(model), expected)


def test_a_weight_read_both_ways_has_scales_for_each() -> None:
    """A Gemm with transB and a MatMul may share a matrix: one has scales by column, the other by row."""
    nodes = [
        NODE("MatMul", ["x", "w"], ["h"], "plain"),
        NODE("Gemm", ["h", "w"], ["y"], "turned", transB=1),
    ]
    model = _graph(nodes, numpy_helper.from_array(WEIGHT, "w"))
    expected = _run(model)
    products.separate(model)
    assert len({product.weight for product in products.find(model)}) == 2
    np.testing.assert_array_equal(_run(model), expected)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An ALBERT of three layers with one set of weights, as an FP32 graph (onnxruntime issue 10340)."""
    import torch
    from transformers import AlbertConfig, AlbertForSequenceClassification

    folder = tmp_path_factory.mktemp("albert")
    config = AlbertConfig(
        vocab_size=len(tiny.vocabulary()),
        embedding_size=16,
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = AlbertForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder / "torch")
    tiny.save_tokenizer(folder / "torch")
    (folder / "torch" / "encoding.json").write_text('{"max_length": 32}')
    return tiny_deploy.run("export_onnx", tiny_deploy.seal(folder / "torch"), folder / "onnx", ROWS).artifact


def _hide(artifact: Artifact, folder: Path) -> Artifact:
    """The same artifact as an earlier export left it: every weight behind an Identity."""
    model = graph.load(artifact.file("model.onnx"))
    for position, product in enumerate(products.find(model)):
        node = next(node for node in model.graph.node if node.name == product.name)
        node.input[1] = f"hidden_{position}"
        alias = NODE("Identity", [product.weight], [f"hidden_{position}"], f"Identity_{position}")
        model.graph.node.insert(0, alias)
    folder.mkdir()
    for file in artifact.path.iterdir():
        if file.name not in ("manifest.json", "model.onnx"):
            (folder / file.name).write_bytes(file.read_bytes())
    graph.save(model, folder)
    return tiny_deploy.seal(folder, "onnx", "export-onnx", artifact.task)


def test_shared_layers_become_eight_bits_each_and_are_stored_once(shared: Artifact, tmp_path: Path) -> None:
    """Six products a layer, the mapping and the pooler: all but the head, in about a quarter of the bytes."""
    model = graph.load(shared.file("model.onnx"))
    assert not [node for node in model.graph.node if node.op_type == "Identity"]
    run = tiny_deploy.run("quantize_onnx", shared, tmp_path / "int8", ROWS, mode="dynamic")
    covered = run.facts["coverage"]
    assert (covered["products"], covered["eight_bit"]) == (3 * 6 + 3, 3 * 6 + 2)
    assert covered["float_products"] == {"/model/classifier/Gemm": "the head stays float"}
    assert covered["macs_share"] > 0.9
    weights = graph.weight_bytes(graph.load(run.artifact.file("model.onnx")))
    assert weights < 0.4 * graph.weight_bytes(model)


def test_what_an_earlier_export_hid_is_found_by_every_stage(shared: Artifact, tmp_path: Path) -> None:
    """Quantizing, halving and calibrating give what they give for the plain graph."""
    old = _hide(shared, tmp_path / "old")
    run = tiny_deploy.run("quantize_onnx", old, tmp_path / "int8", ROWS, mode="dynamic")
    plain = tiny_deploy.run("quantize_onnx", shared, tmp_path / "plain", ROWS, mode="dynamic")
    assert run.facts["coverage"] == plain.facts["coverage"]
    assert run.artifact.id == plain.artifact.id
    halves = [
        tiny_deploy.run("half_precision", artifact, tmp_path / name, ROWS[:8]).artifact.id
        for artifact, name in ((old, "half"), (shared, "half-plain"))
    ]
    assert halves[0] == halves[1]
    model = constants.load(old.file("model.onnx"))
    assert ending.scale(model, "logits", 2.0) == ["model.classifier.weight", "model.classifier.bias"]
