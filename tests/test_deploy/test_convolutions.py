"""Convolutions in eight bits: what is folded, what is corrected, which kernels run, what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_deploy
import tiny_images
from onnx import TensorProto, helper, numpy_helper

from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from deploy import session
from deploy.graph import convolutions
from deploy.graph import nodes as graph
from deploy.precision import coverage, filters
from deploy.precision.eight_bits import EightBits
from deploy.stages import quantize_onnx

ROWS = tiny_images.rows()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny residual network as an FP32 graph."""
    folder = tmp_path_factory.mktemp("resnet")
    source = tiny_images.artifact(folder / "torch", "resnet")
    return tiny_deploy.run("export_onnx", source, folder / "onnx", ROWS).artifact


def _model(nodes: list[onnx.NodeProto], shape: list[int], **constants: np.ndarray) -> onnx.ModelProto:
    """A graph from ``x`` to ``y``."""
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in constants.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    opened = session.open_session(model.SerializeToString(), threads=1, optimize=False)
    return np.asarray(session.infer_with(opened)({"x": x.astype(np.float32)})["y"])


def _kernels(artifact: Artifact, folder: Path) -> Counter[str]:
    """The operators that ONNX Runtime runs in place of a graph's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "run.onnx")
    options.log_severity_level = 3
    file = str(artifact.file("model.onnx"))
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "run.onnx").graph.node)


def test_the_expected_error_of_a_filter_by_hand() -> None:
    """Nagel et al. 2019, eq. 16 and 17: two filters of two channels with one tap, errors times means.

    Filter 0 errs by (0.5, -1) on channels whose means are (2, 3): 0.5 * 2 - 1 * 3 = -2. Filter 1 errs by
    (0, 0.25): 0.75. In two groups each filter sees one channel alone: 0.5 * 2 and 0.25 * 3.
    """
    means = np.array([2.0, 3.0]).reshape(2, 1, 1)
    dense = np.array([[0.5, -1.0], [0.0, 0.25]]).reshape(2, 2, 1, 1)
    np.testing.assert_allclose(filters.expected_error(dense, means, 1), [-2.0, 0.75])
    depthwise = np.array([0.5, 0.25]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(filters.expected_error(depthwise, means, 2), [1.0, 0.75])


def test_a_tap_sees_zeros_at_the_borders() -> None:
    """A kernel of three over the row 3, 6, 9 with a pad of one on each side, by hand.

    The left tap sees 0, 3, 6, the middle one 3, 6, 9, the right one 6, 9, 0: means of 3, 6 and 5.
    """
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1])
    means = filters.tap_means(node, (1, 1, 3))
    means.add(np.array([[[3.0, 6.0, 9.0]]]))
    np.testing.assert_allclose(means.means, [[3.0, 6.0, 5.0]])
    means.add(np.array([[[3.0, 6.0, 9.0]], [[0.0, 0.0, 0.0]]]))
    np.testing.assert_allclose(means.means, [[2.0, 4.0, 10 / 3]])


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 1, 1, 1]},
        {"pads": [0, 1, 2, 0], "strides": [2, 1]},
        {"dilations": [2, 2], "strides": [1, 2]},
        {"pads": [1, 1, 1, 1], "group": 4},
        {"pads": [1, 1, 1, 1], "group": 2, "strides": [2, 2]},
    ],
)
def test_a_corrected_bias_takes_the_mean_error_away(attributes: dict[str, Any]) -> None:
    """The mean output of every channel is the float one's, whatever pads, strides, dilations and groups."""
    generator = np.random.default_rng(3)
    weight = generator.normal(0, 1, (8, 4 // attributes.get("group", 1), 3, 3)).astype(np.float32)
    bias = generator.normal(0, 1, 8).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv", **attributes)
    model = _model([node], [5, 4, 9, 8], w=weight, b=bias)
    images = generator.uniform(0, 2, (5, 4, 9, 8)).astype(np.float32)
    means = filters.tap_means(node, weight.shape)
    means.add(images[:2])
    means.add(images[2:])
    coarse = EightBits("s8", largest=7)  # errors that are seen
    eight = filters.Filters(convolutions.find(model), graph.Index(model), coarse, {"conv": means}, {})
    copy = _model([], [5, 4, 9, 8])
    nodes, floats = eight.add(copy, convolutions.find(model)[0])
    copy.graph.node.extend([*nodes, helper.make_node("Conv", ["x", *floats], ["y"], "conv", **attributes)])
    uncorrected = _model([], [5, 4, 9, 8], b=bias)
    nodes, floats = eight.add(uncorrected, convolutions.find(model)[0])
    plain = helper.make_node("Conv", ["x", floats[0], "b"], ["y"], "conv", **attributes)
    uncorrected.graph.node.extend([*nodes, plain])
    reference = _run(model, images).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(_run(copy, images).mean(axis=(0, 2, 3)), reference, atol=1e-5)
    assert np.abs(_run(uncorrected, images).mean(axis=(0, 2, 3)) - reference).max() > 1e-2


def test_a_batch_norm_is_folded_exactly() -> None:
    """With a bias and without one, and not where another node reads the convolution as well."""
    generator = np.random.default_rng(1)
    norm = {
        "gain": generator.uniform(0.5, 2, 3),
        "shift": generator.normal(0, 1, 3),
        "mean": generator.normal(0, 1, 3),
        "variance": generator.uniform(0.1, 2, 3),
    }
    weight, bias = generator.normal(0, 1, (3, 2, 3, 3)), generator.normal(0, 1, 3)
    images = generator.normal(0, 1, (2, 2, 6, 6))
    for inputs, constants in ((["x", "w"], {}), (["x", "w", "b"], {"b": bias})):
        nodes = [
            helper.make_node("Conv", inputs, ["c"], "conv"),
            helper.make_node("BatchNormalization", ["c", *norm], ["y"], "norm", epsilon=1e-3),
        ]
        model = _model(nodes, [2, 2, 6, 6], w=weight, **constants, **norm)
        before = _run(model, images)
        assert convolutions.fold_batch_norms(model) == 1
        assert [node.op_type for node in model.graph.node] == ["Conv"]
        np.testing.assert_allclose(_run(model, images), before, atol=1e-5)
        shared = _model(
            [
                nodes[0],
                helper.make_node("BatchNormalization", ["c", *norm], ["n"], "norm"),
                helper.make_node("Add", ["c", "n"], ["y"], "sum"),
            ],
            [2, 2, 6, 6],
            w=weight,
            **constants,
            **norm,
        )
        assert convolutions.fold_batch_norms(shared) == 0


def test_a_bias_that_32_bits_cannot_hold_raises_the_scale_of_its_channel() -> None:
    """A dead filter with a bias: in units of its own scale the bias would overflow without a word."""
    weight = np.array([1e-12, 1.0], np.float32).reshape(2, 1, 1, 1)
    bias = np.array([5.0, 0.5], np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")
    model = _model([node], [1, 1, 2, 2], w=weight, b=bias)
    means = filters.tap_means(node, weight.shape)
    means.add(np.ones((1, 1, 2, 2)))
    eight = filters.Filters(
        convolutions.find(model), graph.Index(model), EightBits("u8"), {"conv": means}, {"x": 0.01}
    )
    copy = _model([], [1, 1, 2, 2])
    nodes, floats = eight.add(copy, convolutions.find(model)[0])
    copy.graph.node.extend([*nodes, helper.make_node("Conv", ["x", *floats], ["y"], "conv")])
    np.testing.assert_allclose(_run(copy, np.zeros((1, 1, 2, 2)))[0, :, 0, 0], bias, atol=1e-3)


def test_a_residual_network_runs_in_integers_from_end_to_end(exported: Artifact, tmp_path: Path) -> None:
    """Every convolution, every residual sum and the pooling between them; the head alone stays float."""
    ran = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS)
    assert ran.facts["taken"] == "mode: static"
    assert ran.facts["coverage"]["eight_bit"] == 10
    assert list(ran.facts["coverage"]["float_products"].values()) == ["the head stays float"]
    assert ran.facts["coverage"]["macs_share"] > 0.99
    assert ran.facts["against_float"]["agreeing"] == len(ROWS)
    assert len(ran.facts["bias_corrections"]) == 10
    assert 0 < max(ran.facts["bias_corrections"].values()) < 0.1
    kernels = _kernels(ran.artifact, tmp_path)
    assert (kernels["QLinearConv"], kernels["QLinearAdd"], kernels["NhwcMaxPool"]) == (10, 4, 1)
    assert (kernels["Conv"], kernels["Relu"], kernels["QuantizeLinear"]) == (0, 0, 1)
    sizes = [artifact.file("model.onnx").stat().st_size for artifact in (exported, ran.artifact)]
    assert sizes[1] < 0.5 * sizes[0]


def test_a_convolution_that_is_kept_float_stays_exact(exported: Artifact, tmp_path: Path) -> None:
    """What keep_float names is named with its reason, and its weight is stored as it was."""
    first = convolutions.find(graph.load(exported.file("model.onnx")))[0]
    ran = tiny_deploy.run(
        "quantize_onnx", exported, tmp_path / "int8", ROWS, mode="static", keep_float=[first.name]
    )
    assert ran.facts["kept_float"][first.name] == "named in keep_float"
    model = graph.load(ran.artifact.file("model.onnx"))
    original = graph.Index(graph.load(exported.file("model.onnx"))).array(first.weight)
    np.testing.assert_array_equal(graph.Index(model).array(first.weight), original)
    assert _kernels(ran.artifact, tmp_path)["QLinearConv"] == 9


def test_depthwise_convolutions_and_clips_run_in_integers(tmp_path: Path) -> None:
    """Of a MobileNetV2 every convolution; ReLU6 becomes the end of a range."""
    source = tiny_images.artifact(tmp_path / "torch", "mobilenet_v2", tf_padding=False)
    graph_of = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", ROWS).artifact
    depthwise = [c for c in convolutions.find(graph.load(graph_of.file("model.onnx"))) if c.groups > 1]
    assert len(depthwise) == 17
    ran = tiny_deploy.run(
        "quantize_onnx", graph_of, tmp_path / "int8", ROWS, keep_float="none", mode="static"
    )
    kernels = _kernels(ran.artifact, tmp_path)
    assert (kernels["QLinearConv"], kernels["Conv"], kernels["Clip"]) == (52, 0, 0)


def test_for_tensorrt_inputs_alone_have_pairs(exported: Artifact, tmp_path: Path) -> None:
    """Biases are floats there, and no output has a pair."""
    ran = tiny_deploy.run(
        "quantize_onnx", exported, tmp_path / "int8", ROWS, target="tensorrt", keep_float="none"
    )
    model = graph.load(ran.artifact.file("model.onnx"))
    index = graph.Index(model)
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convs) == 10
    for node in convs:
        assert index.maker[node.input[0]].op_type == index.maker[node.input[1]].op_type == "DequantizeLinear"
        assert index.is_float_constant(node.input[2])
        assert not any(taker.op_type == "QuantizeLinear" for taker in index.takers[node.output[0]])


def test_dynamic_ranges_leave_convolutions_float_and_say_what_takes_them(
    exported: Artifact, tmp_path: Path
) -> None:
    """The refusal names static ranges; a graph of convolutions is never tried with dynamic ones."""
    with pytest.raises(UserError, match=r"nothing is left to quantize.*mode: static quantizes them"):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS, mode="dynamic")
    config = quantize_onnx.Config()
    assert list(quantize_onnx.attempts(config, convolved=0.9)) == ["mode: static"]
    assert next(iter(quantize_onnx.attempts(config, convolved=0.1))) == "mode: dynamic"


def test_the_share_of_convolutions_is_counted_by_what_they_cost() -> None:
    """90 of 100 multiplications, attention's own among them."""
    loads = [
        coverage.Load("a", "Conv", 90, True),
        coverage.Load("b", "MatMul", 6, True),
        coverage.Load("c", "MatMul", 4, False),
    ]
    assert coverage.convolved(loads) == pytest.approx(0.9)
    assert coverage.convolved([]) == 0
