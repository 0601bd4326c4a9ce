"""A temperature folded into a graph: outputs divided, answers kept, no node more."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
import tiny_deploy
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from compress.recipe import validate
from compress.stage import Context
from deploy.encoder import Encoder
from deploy.graph import ending
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.session import infer_with, open_session
from deploy.stages import calibrate_onnx

ROWS = tiny.sentences(60, 9)
PLAIN = tiny_deploy.text_rows()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny text classifier as an FP32 graph."""
    folder = tmp_path_factory.mktemp("calibrate")
    return tiny_deploy.run(
        "export_onnx", tiny_deploy.text_artifact(folder / "torch"), folder / "onnx", PLAIN
    ).artifact


def fold(source: Artifact, out: Path, rows: Any = None, **options: Any) -> tuple[Artifact, dict[str, Any]]:
    """Run the stage and seal what it made."""
    facts: dict[str, Any] = {}
    out.mkdir(parents=True)
    data = SimpleNamespace(selection=ROWS if rows is None else rows)
    data.for_head = lambda task, head: data
    context = Context(
        out=out,
        scratch=out.parent,
        task=catalog.load("task", source.task),
        data=data,  # type: ignore[arg-type]
        seed=0,
        threads=1,
        device="cpu",
        record=facts.__setitem__,
    )
    module = calibrate_onnx
    module.run(source, validate(module.Config, options, "calibrate-onnx"), context)
    return tiny_deploy.seal(out, "onnx", "calibrate-onnx"), facts["calibration"]


def logits(artifact: Artifact) -> np.ndarray:
    """Outputs of a graph on all rows."""
    encoder = Encoder.open(artifact.path, catalog.load("task", artifact.task))
    infer = infer_with(open_session(artifact.file(graph_facts.MODEL), threads=1))
    return np.array(infer(encoder.feed(ROWS))["logits"])


def nodes(artifact: Artifact) -> int:
    """How many nodes a graph has."""
    return len(graph.load(artifact.file(graph_facts.MODEL)).graph.node)


def test_a_power_of_two_divides_exactly(exported: Artifact, tmp_path: Path) -> None:
    """Temperature 2 halves every output to the last bit, with as many nodes as before."""
    artifact, facts = fold(exported, tmp_path / "out", temperature=2)
    assert np.array_equal(logits(artifact), logits(exported) / 2)
    assert facts["largest_difference"] == 0
    assert len(facts["scaled"]) == 2
    assert nodes(artifact) == nodes(exported)
    assert graph_facts.read(artifact) == graph_facts.read(exported)


def test_an_int8_graph_is_calibrated_as_it_is(exported: Artifact, tmp_path: Path) -> None:
    """Its head stayed float: the fitted temperature lowers the loss and keeps the answers."""
    flat = tiny_deploy.run("quantize_onnx", exported, tmp_path / "flat", PLAIN).artifact
    int8, _ = fold(flat, tmp_path / "int8", temperature=0.05)
    # What the graph itself says, but for every fourth row: then there is a best confidence.
    answers = logits(int8).argmax(axis=1).tolist()
    rows = [
        {**row, "label": answer if i % 4 else 1 - answer}
        for i, (row, answer) in enumerate(zip(ROWS, answers, strict=True))
    ]
    artifact, facts = fold(int8, tmp_path / "out", rows)
    assert facts["fitted"]
    assert facts["nll_after"] < facts["nll_before"]
    before, after = logits(int8), logits(artifact)
    assert np.array_equal(before.argmax(axis=1), after.argmax(axis=1))
    np.testing.assert_allclose(after, before / facts["temperature"], rtol=1e-5, atol=1e-6)


def test_a_quantized_head_is_refused(exported: Artifact, tmp_path: Path) -> None:
    """Its weights are integers: the message says what to do."""
    int8 = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", PLAIN, head=True).artifact
    with pytest.raises(UserError, match="before it is quantized, or quantize with head: false"):
        fold(int8, tmp_path / "out", temperature=2)


def model(operators: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A graph from x to y."""
    info = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            operators,
            "g",
            [info("x", TensorProto.FLOAT, ["b", 2])],
            [info("y", TensorProto.FLOAT, ["b", 2])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


W = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
B = np.array([0.5, -0.5], dtype=np.float32)
X = np.array([[1.0, -1.0], [2.0, 0.5]], dtype=np.float32)


@pytest.mark.parametrize(
    "operators",
    [
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=2.0, beta=3.0)],
        [
            helper.make_node("MatMul", ["x", "w"], ["m"]),
            helper.make_node("Add", ["b", "m"], ["a"]),
            helper.make_node("Identity", ["a"], ["y"]),
        ],
    ],
)
def test_both_forms_of_a_linear_layer_scale(operators: list[onnx.NodeProto]) -> None:
    """Gemm with its factors, and a product with an addition: the output is halved exactly."""
    proto = model(operators, {"w": W, "b": B})
    before = infer_with(open_session(proto.SerializeToString(), threads=1))({"x": X})["y"].copy()
    assert set(ending.scale(proto, "y", 0.5)) == {"w", "b"}
    after = infer_with(open_session(proto.SerializeToString(), threads=1))({"x": X})["y"]
    assert np.array_equal(after, before / 2)
    assert len(proto.graph.initializer) == 2


def test_weights_that_serve_elsewhere_stay() -> None:
    """The first product keeps its weights where the last one shares them."""
    proto = model(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])],
        {"w": W},
    )
    ending.scale(proto, "y", 0.5)
    after = infer_with(open_session(proto.SerializeToString(), threads=1))({"x": X})["y"]
    np.testing.assert_allclose(after, X @ W @ W / 2)


@pytest.mark.parametrize(
    ("operators", "reason"),
    [
        ([helper.make_node("Tanh", ["x"], ["y"])], "it ends in Tanh"),
        ([helper.make_node("MatMul", ["x", "x"], ["y"])], "it ends in MatMul"),
        ([helper.make_node("Gemm", ["x", "w", "x"], ["y"])], "what is added to the last product is computed"),
        ([helper.make_node("Identity", ["x"], ["y"])], "it is computed by nothing"),
    ],
)
def test_other_endings_are_refused(operators: list[onnx.NodeProto], reason: str) -> None:
    """With what stands in the way."""
    with pytest.raises(UserError, match=reason):
        ending.scale(model(operators, {"w": W}), "y", 0.5)


def test_the_verb_takes_models_of_either_kind(tmp_path: Path) -> None:
    """A folder and a graph, each through the stage of its kind, with data that the pipeline reads."""
    from paredown.app import app

    source = tiny.text_model(tmp_path / "model")
    data = tiny.text_data(tmp_path / "data", train=60, evaluate=20)
    common = ["--data", str(data), "--threads", "1", "--json"]

    def call(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(app, [*arguments, *common])
        assert result.exit_code == 0, result.exception
        report: dict[str, Any] = json.loads(result.stdout)
        return report

    call("calibrate", str(source), "--temperature", "2", "--out", str(tmp_path / "torch"))
    call("export", str(tmp_path / "torch"), "--out", str(tmp_path / "graph"))
    call("calibrate", str(tmp_path / "graph"), "--temperature", "0.5", "--out", str(tmp_path / "back"))
    artifact = Artifact.open(tmp_path / "back")
    assert [step.stage for step in artifact.manifest.lineage] == [
        "load",
        "calibrate",
        "export-onnx",
        "calibrate-onnx",
    ]
    assert artifact.manifest.facts["calibration"]["decisions"] > 0
    again = Artifact.open(tmp_path / "graph")
    assert np.array_equal(logits(artifact), logits(again) * 2)
