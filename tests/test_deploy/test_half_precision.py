"""Half precision: rounding, the overflow guard, finite masks, FP32 where it is needed, parity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_deploy
from onnx import TensorProto, helper, numpy_helper

from compress.artifacts.artifact import Artifact
from compress.errors import ParityError, UserError
from compress.model import checkpoint
from compress.tasks import text_classification
from deploy import session
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.graph.reference import reference_infer
from deploy.opening import runner
from deploy.precision import guard, half
from deploy.precision.ranges import Extremes
from deploy.stages import half_precision

ROWS = tiny_deploy.text_rows()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny text classifier as an FP32 graph."""
    folder = tmp_path_factory.mktemp("exported")
    return tiny_deploy.run(
        "export_onnx", tiny_deploy.text_artifact(folder / "torch"), folder / "onnx", ROWS
    ).artifact


def _model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], **types: int) -> onnx.ModelProto:
    for position, node in enumerate(nodes):
        node.name = node.name or f"n{position}"
    info = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [info("x", TensorProto.FLOAT, ["b", 4])],
            [info("y", TensorProto.FLOAT, ["b", 4])],
            [numpy_helper.from_array(array, name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(reference_infer(model)({"x": x})["y"])


def test_halves_are_the_nearest_ones() -> None:
    """1/3 in eleven and in eight bits of mantissa, ties to even."""
    third = np.array([1 / 3, 65504.0], dtype=np.float32)
    assert half.round_to(third, "fp16").astype(float)[0] == pytest.approx(0.333251953125, abs=0)
    assert half.round_to(third, "bf16").astype(float)[0] == pytest.approx(0.333984375, abs=0)
    assert half.round_to(np.float32([1 + 2**-8]), "bf16").astype(float)[0] == 1.0
    assert half.round_to(np.float32([1 + 3 * 2**-8]), "bf16").astype(float)[0] == 1 + 2**-6


def test_inputs_and_outputs_keep_their_types() -> None:
    """Casts stand at the border of the graph, weights are halves, and the product is done in halves."""
    weight = np.arange(16, dtype=np.float32).reshape(4, 4) / 7
    model = _model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight})
    assert half.convert(model, "fp16", frozenset()) == []
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Cast", "MatMul", "Cast"]
    assert [tensor.data_type for tensor in model.graph.initializer] == [TensorProto.FLOAT16]
    x = np.ones((1, 4), np.float32)
    expected = weight.astype(np.float16).astype(np.float32).sum(0).astype(np.float16)
    np.testing.assert_allclose(_run(model, x)[0], expected.astype(np.float32), rtol=1e-3)


def test_a_planted_overflow_trips_the_guard() -> None:
    """The node that makes 70,000 and the one that takes it stay in FP32; the rest does not."""
    nodes = [
        helper.make_node("Mul", ["x", "small"], ["a"], "fine"),
        helper.make_node("Mul", ["a", "big"], ["b"], "makes"),
        helper.make_node("Mul", ["b", "tiny"], ["c"], "takes"),
        helper.make_node("Mul", ["c", "small"], ["y"], "after"),
    ]
    constants = {
        "small": np.array([2.0], np.float32),
        "big": np.array([35000.0 / 2], np.float32),
        "tiny": np.array([1e-4], np.float32),
    }
    model = _model(nodes, constants)
    x = np.full((1, 4), 2.0, np.float32)
    assert not np.isfinite(_run_half(model, x, frozenset()))[0].any(), "without the guard it overflows"
    extremes = {"a": Extremes(4, 4, 1), "b": Extremes(70000, 70000, 1), "c": Extremes(7, 7, 1)}
    overflows = guard.overflowing(model, extremes)
    assert set(overflows) == {"makes", "takes"}
    assert overflows["takes"] == "|b| reaches 7e+04, FP16 is safe up to 8188"
    assert _run_half(model, x, frozenset(overflows))[0] == pytest.approx([14.0] * 4, rel=1e-2)


def _run_half(model: onnx.ModelProto, x: np.ndarray, float_nodes: frozenset[str]) -> np.ndarray:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    stayed = half.convert(copy, "fp16", float_nodes)
    assert set(stayed) == float_nodes
    onnx.checker.check_model(copy, full_check=True)
    return _run(copy, x)


def test_a_constant_that_fp16_cannot_hold_trips_the_guard() -> None:
    """Weights count like values."""
    model = _model(
        [helper.make_node("Mul", ["x", "w"], ["y"], "heavy")], {"w": np.array([9000.0], np.float32)}
    )
    assert set(guard.overflowing(model, {})) == {"heavy"}
    assert guard.overflowing(model, {}, limit=10000.0) == {}
    assert set(guard.overflowing(model, {"y": Extremes(float("nan"), float("nan"), 1)}, 1e9)) == {"heavy"}


def test_squares_and_means_stay_float() -> None:
    """A variance that is written out is computed in FP32."""
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["sq"], "square"),
        helper.make_node("ReduceMean", ["sq"], ["mean"], "mean", axes=[-1], keepdims=1),
        helper.make_node("Add", ["x", "mean"], ["y"], "add"),
    ]
    model = _model(nodes, {"two": np.array(2.0, np.float32)})
    assert half.convert(model, "fp16", frozenset()) == ["square", "mean"]
    x = np.full((1, 4), 200.0, np.float32)  # 200**2 fits, the sum of four does not
    assert np.isfinite(_run(model, x)).all()


def test_masks_become_finite() -> None:
    """The lowest FP32 number would be minus infinity in FP16; other constants stay."""
    nodes = [
        helper.make_node(
            "Constant", [], ["low"], value=numpy_helper.from_array(np.array(np.finfo(np.float32).min))
        ),
        helper.make_node("Mul", ["x", "low"], ["a"]),
        helper.make_node("Add", ["a", "w"], ["y"]),
    ]
    model = _model(nodes, {"w": np.array([-1e30, 3.0, -5.0, 0.0], np.float32)})
    assert half.bound_masks(model) == ["w", "low"]
    assert numpy_helper.to_array(model.graph.initializer[0]).tolist() == [-1e4, 3.0, -5.0, 0.0]
    assert numpy_helper.to_array(model.graph.node[0].attribute[0].t) == -1e4


def test_fp16_of_a_model_agrees_and_is_half(exported: Artifact, tmp_path: Path) -> None:
    """Every case within FP16's tolerance, nothing kept in FP32 by need, files near half the size."""
    run = tiny_deploy.run("half_precision", exported, tmp_path / "fp16", ROWS)
    worst = run.facts["parity"]["worst"]
    assert 0 < worst["largest"] < worst["allowed"]
    assert run.facts["parity"]["by"] == "onnx.reference"
    assert run.facts["kept_float"] == {}
    assert len(run.facts["masks"]) == 1
    assert graph_facts.read(run.artifact).precision == "fp16"
    model = graph.load(run.artifact.file("model.onnx"))
    weights = [t.data_type for t in model.graph.initializer if len(t.dims) == 2 and t.data_type != 7]
    assert set(weights) == {TensorProto.FLOAT16}
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert norms
    assert all(graph.attribute(node, "stash_type", 1) == 1 for node in norms), "statistics in FP32"
    assert graph.weight_bytes(model) < 0.6 * graph.weight_bytes(graph.load(exported.file("model.onnx")))


def test_an_activation_out_of_range_is_kept_in_float(tmp_path: Path) -> None:
    """A neuron of 60,000 in one layer: its nodes are named, and the result is right under every mask."""
    import torch

    source = tiny_deploy.text_artifact(tmp_path / "plain")
    model = checkpoint.load(source.path, text_classification)
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.bias[3] = 60000.0
        model.bert.encoder.layer[0].output.dense.weight[:, 3] *= 1e-6
    folder = tmp_path / "planted"
    folder.mkdir()
    checkpoint.save(model, folder, source=source.path)
    exported = tiny_deploy.run("export_onnx", tiny_deploy.seal(folder), tmp_path / "onnx", ROWS).artifact
    run = tiny_deploy.run("half_precision", exported, tmp_path / "fp16", ROWS)
    float_nodes = run.facts["kept_float"]
    assert float_nodes
    assert all("layer.0/intermediate" in name or "layer.0/output/dense" in name for name in float_nodes)
    assert any("reaches 6e+04" in reason for reason in float_nodes.values())
    tight = half_precision.guard.MARGIN
    assert tight == 8
    plain = tiny_deploy.run("half_precision", exported, tmp_path / "loose", ROWS, margin=1)
    assert len(plain.facts["kept_float"]) < len(float_nodes), (
        "60,000 itself fits; eight times of it would not"
    )


def test_the_guard_sees_no_padding(exported: Artifact) -> None:
    """Rows pass in groups of one length: no mask value shows up as an activation."""
    encoder = Encoder.open(exported.path, text_classification)
    feeds = [batch.inputs for batch in encoder.unpadded(ROWS)]
    assert sum(feed["input_ids"].shape[0] for feed in feeds) == len(ROWS)
    assert all((feed["attention_mask"] == 1).all() for feed in feeds)
    assert len({feed["input_ids"].shape[1] for feed in feeds}) > 3


def test_bf16_is_checked_by_the_reference_and_refused_at_run_time(exported: Artifact, tmp_path: Path) -> None:
    """ONNX Runtime's CPU provider has no BF16; the refusal says so and what to do."""
    run = tiny_deploy.run("half_precision", exported, tmp_path / "bf16", ROWS, precision="bf16")
    assert run.facts["parity"]["by"] == "onnx.reference"
    assert 0 < run.facts["parity"]["worst"]["largest"] < run.facts["parity"]["worst"]["allowed"]
    weights = graph.load(run.artifact.file("model.onnx")).graph.initializer
    assert TensorProto.BFLOAT16 in {tensor.data_type for tensor in weights}
    with (
        pytest.raises(UserError, match="CPU provider has no BF16 kernels: run this graph on a CUDA device"),
        runner(run.artifact, threads=1),
    ):
        pass


def test_onnxruntime_still_has_no_bf16(exported: Artifact, tmp_path: Path) -> None:
    """The refusal above has a reason while this fails; when upstream mends it, the refusal can go."""
    run = tiny_deploy.run("half_precision", exported, tmp_path / "bf16", ROWS[:8], precision="bf16")
    with pytest.raises(Exception, match="NOT_IMPLEMENTED"):
        session.open_session(run.artifact.file("model.onnx"), threads=1)


def test_int8_for_tensorrt_takes_halves_around_it(exported: Artifact, tmp_path: Path) -> None:
    """Scales become halves where they fit, integers stay, the distribution moves little."""
    int8 = tiny_deploy.run(
        "quantize_onnx",
        exported,
        tmp_path / "int8",
        ROWS,
        mode="static",
        target="tensorrt",
        keep_float="none",
    ).artifact
    run = tiny_deploy.run("half_precision", int8, tmp_path / "both", ROWS)
    assert run.facts["parity"]["divergence_mean"] < 0.01
    facts = graph_facts.read(run.artifact)
    assert (facts.precision, facts.target, facts.opset) == ("int8", "tensorrt", 19)
    model = graph.load(run.artifact.file("model.onnx"))
    index = graph.Index(model)
    types = {
        index.constants[node.input[1]].data_type
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.name not in run.facts["kept_float"]
    }
    assert types == {TensorProto.FLOAT16}


def test_static_int8_for_cpus_takes_halves_around_it(exported: Artifact, tmp_path: Path) -> None:
    """At opset 17 too, for which ONNX's reference has no DequantizeLinear of its own."""
    int8 = tiny_deploy.run(
        "quantize_onnx", exported, tmp_path / "int8", ROWS, mode="static", keep_float="none"
    ).artifact
    assert graph_facts.read(int8).opset == 17
    run = tiny_deploy.run("half_precision", int8, tmp_path / "both", ROWS)
    assert run.facts["parity"]["divergence_mean"] < 0.01
    assert graph_facts.read(run.artifact).rest == "fp16"


def test_onnxruntime_still_hides_overflows_of_fp16() -> None:
    """On CPUs it computes in FP32 in between: why parity of halves is the reference evaluator's."""
    model = _model(
        [
            helper.make_node("Mul", ["x", "big"], ["a"]),
            helper.make_node("Mul", ["a", "tiny"], ["y"]),
        ],
        {"big": np.array([35000.0], np.float32), "tiny": np.array([1e-3], np.float32)},
    )
    half.convert(model, "fp16", frozenset())
    x = np.full((1, 4), 2.0, np.float32)
    assert np.isinf(_run(model, x)).all()
    hidden = session.infer_with(session.open_session(model.SerializeToString(), threads=1))({"x": x})["y"]
    assert np.isfinite(hidden).all()


def test_reference_products_round_once() -> None:
    """Sums of halves are kept in FP32: 4096 ones and a small one do not get lost on the way."""
    a, b = np.ones((1, 4097), np.float16), np.ones((4097, 1), np.float16)
    a[0, -1] = 4.0
    ops = [helper.make_node("MatMul", ["a", "b"], ["y"])]
    info = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            ops,
            "g",
            [info("a", TensorProto.FLOAT16, [1, 4097]), info("b", TensorProto.FLOAT16, [4097, 1])],
            [info("y", TensorProto.FLOAT16, [1, 1])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    product = reference_infer(model)({"a": a, "b": b})["y"]
    assert (product.dtype, product.item()) == (np.float16, 4100.0)


def test_reference_norms_and_softmax_sum_in_float() -> None:
    """As on GPUs: squares of a LayerNorm do not overflow, and 4,096 shares add up to 1."""
    x = np.zeros((1, 4096), np.float16)
    x[0, 0] = 3000.0
    info = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("LayerNormalization", ["x", "w"], ["norm"]),
                helper.make_node("Softmax", ["zero"], ["y"]),
            ],
            "g",
            [info(name, TensorProto.FLOAT16, [1, 4096]) for name in ("x", "zero")],
            [info(name, TensorProto.FLOAT16, [1, 4096]) for name in ("norm", "y")],
            [numpy_helper.from_array(np.ones(4096, np.float16), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    outputs = reference_infer(model)({"x": x, "zero": np.zeros_like(x)})
    assert outputs["norm"][0, 0] == np.float16(64)  # the square root of 4,095
    assert outputs["y"].astype(np.float32).sum() == 1.0


@pytest.mark.parametrize("length", [3, 90])
def test_reference_gathers_by_a_shorter_index(length: int) -> None:
    """PyTorch's gather takes one row of positions for a batch, over any number of them (DeBERTa)."""
    data = np.arange(2 * 4 * length, dtype=np.float16).reshape(2, 4, length)
    at = np.array([[[length - 1, 0], [-1, 1]]])
    info = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("GatherElements", ["data", "at"], ["y"], axis=2)],
            "g",
            [info("data", TensorProto.FLOAT16, data.shape), info("at", TensorProto.INT64, at.shape)],
            [info("y", TensorProto.FLOAT16, at.shape)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    gathered = reference_infer(model)({"data": data, "at": at})["y"]
    assert gathered.tolist() == [[[length - 1, 0], [2 * length - 1, length + 1]]]


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_positions_and_their_angles_stay_float(kind: half.Half) -> None:
    """Position 3001 is no half, and the angle of 500 is off by 0.25: rotary models were off on GPUs.

    ONNX Runtime computes halves in FP32 on a CPU and cannot show it.
    """
    model = _model(
        [
            helper.make_node("Cast", ["positions"], ["counted"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["frequencies", "zero"], ["row"]),
            helper.make_node("Mul", ["counted", "row"], ["angles"]),
            helper.make_node("Cos", ["angles"], ["turn"]),
            helper.make_node("Mul", ["x", "turn"], ["turned"]),
            helper.make_node("MatMul", ["turned", "w"], ["y"]),
        ],
        {
            "positions": np.array([[3001]]),
            "frequencies": np.array([1.0, 0.5, 0.1, 0.01], np.float32),
            "zero": np.array([0]),
            "w": np.eye(4, dtype=np.float32),
        },
    )
    stayed = half.convert(model, kind, frozenset())
    assert stayed == ["n0", "n1", "n2", "n3"]
    x = np.ones((1, 4), np.float32)
    cosines = np.cos(3001 * np.array([1.0, 0.5, 0.1, 0.01]))
    np.testing.assert_allclose(_run(model, x)[0], cosines, atol=2e-3 if kind == "fp16" else 1e-2)


def test_buckets_of_positions_are_counted_in_float() -> None:
    """T5 and DeBERTa look up a logarithm of distances, rounded to an integer: 2049 apart is no half."""
    model = _model(
        [
            helper.make_node("Cast", ["distance"], ["far"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["far", "near"], ["rest"]),
            helper.make_node("Cast", ["rest"], ["bucket"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "bucket"], ["row"]),
            helper.make_node("Add", ["x", "row"], ["y"]),
        ],
        {
            "distance": np.array([2049]),
            "near": np.array([0.0], np.float32),
            "table": np.arange(2052, dtype=np.float32)[:, None] % 16,
        },
    )
    assert half.convert(model, "fp16", frozenset()) == ["n0", "n1", "n2"]
    assert _run(model, np.zeros((1, 4), np.float32)).tolist() == [[1.0] * 4]


def test_a_weight_times_a_mask_is_half() -> None:
    """What carries weights is no position, even where its other side is an integer."""
    model = _model(
        [
            helper.make_node("Cast", ["ids"], ["hot"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["hot", "table"], ["row"]),
            helper.make_node("Add", ["x", "row"], ["y"]),
        ],
        {"ids": np.array([[0, 1]]), "table": np.eye(2, 4, dtype=np.float32)},
    )
    assert half.convert(model, "fp16", frozenset()) == ["n0"]


def test_named_nodes_stay_float(exported: Artifact, tmp_path: Path) -> None:
    """By part of a name or by operator; a name that is none is refused."""
    run = tiny_deploy.run(
        "half_precision", exported, tmp_path / "a", ROWS, keep_float=["classifier", "Softmax"]
    )
    assert {"/model/classifier/Gemm"} < set(run.facts["kept_float"])
    assert sum("Softmax" in name for name in run.facts["kept_float"]) == 2
    with pytest.raises(UserError, match="no node or operator of the graph is named 'sofmax'"):
        tiny_deploy.run("half_precision", exported, tmp_path / "b", ROWS, keep_float=["sofmax"])
    with pytest.raises(UserError, match="is fp16 already"):
        tiny_deploy.run("half_precision", run.artifact, tmp_path / "c", ROWS)


def test_a_result_too_far_off_fails(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounding of one weight to nothing like itself is caught."""
    real = half.round_to

    def spoiled(array: np.ndarray, kind: Any) -> np.ndarray:
        return real(array * (2.0 if array.shape == (2, 32) else 1.0), kind)

    monkeypatch.setattr(half, "round_to", spoiled)
    with pytest.raises(ParityError, match="the fp16 graph does not compute what its source computes"):
        tiny_deploy.run("half_precision", exported, tmp_path / "a", ROWS)
