"""Outlier channels: factors by hand, exactness of the rewrite, and who is left alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy import session
from deploy.graph import products
from deploy.precision import outliers


def test_factors_bring_outliers_to_the_limit_and_nothing_else() -> None:
    """Of 100 channels, the two above the 98th percentile come down to it; gain is the ratio of peaks."""
    peaks = np.linspace(1.0, 2.0, 100).astype(np.float32)
    peaks[[10, 20]] = [30.0, 8.0]
    limit = np.quantile(peaks, 0.98, method="lower")
    scales = outliers.factors(peaks)
    assert scales[10] == pytest.approx(30 / limit)
    assert (scales >= 1).all()
    assert (scales[peaks <= limit] == 1).all()
    assert outliers.gain(peaks, scales) == pytest.approx(30 / limit, rel=1e-5)
    assert outliers.factors(np.zeros(4, np.float32)).tolist() == [1.0] * 4
    assert outliers.gain(np.zeros(4), np.ones(4)) == 1.0


def _model(second_taker: bool = False) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(size=(8, 3)).astype(np.float32) for name in ("w1", "w2")}
    weights["g"] = generator.normal(size=(3, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
        helper.make_node("MatMul", ["x", "w2"], ["b"], "second"),
        helper.make_node("Gemm", ["x", "g"], ["c"], "third", transB=1),
        helper.make_node("Sum", ["a", "b", "c"], ["d"], "sum"),
        helper.make_node("Relu", ["d"], ["y"], "end"),
    ]
    if second_taker:
        nodes.insert(0, helper.make_node("ReduceMean", ["w1"], ["other"], "reads"))
        nodes[-1] = helper.make_node("Add", ["d", "other"], ["y"], "end")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, ["b", 8])],
        [info("y", TensorProto.FLOAT, ["b", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    opened = session.open_session(model.SerializeToString(), threads=1)
    return np.asarray(session.infer_with(opened)({"x": x})["y"])


NAMES = ["first", "second", "third"]
PEAKS = np.array([1, 1, 40, 1, 1, 1, 1, 1], dtype=np.float32)


def test_the_rewrite_is_exact_and_shares_one_division() -> None:
    """Three products of one input, one of them a transposed Gemm, take the same divided tensor."""
    x = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32) * PEAKS
    plain, tamed = _model(), _model()
    gains = outliers.tame(tamed, {"x": PEAKS}, NAMES)
    assert list(gains) == ["x"]
    assert gains["x"] > 2
    onnx.checker.check_model(tamed)
    assert [node.op_type for node in tamed.graph.node].count("Mul") == 1
    assert {product.input for product in products.find(tamed)} == {"first_tamed"}
    np.testing.assert_allclose(_run(tamed, x), _run(plain, x), rtol=1e-4, atol=1e-4)


def test_small_gains_and_shared_weights_are_left_alone() -> None:
    """A factor below two is not worth a node; a weight that someone else reads must not change."""
    calm = np.linspace(1.0, 1.5, 8).astype(np.float32)
    model = _model()
    assert outliers.tame(model, {"x": calm}, NAMES) == {}
    assert model.SerializeToString() == _model().SerializeToString()
    shared = _model(second_taker=True)
    assert outliers.tame(shared, {"x": PEAKS}, NAMES) == {}
    assert outliers.tame(_model(), {"elsewhere": PEAKS}, NAMES) == {}


def test_peaks_are_of_real_positions() -> None:
    """Padding has no part in a channel's peak."""
    from types import SimpleNamespace

    from deploy.precision import observe

    values = np.array([[[1.0, -5.0], [2.0, 3.0], [99.0, 99.0]]])
    batch = SimpleNamespace(inputs={"attention_mask": np.array([[1, 1, 0]])})
    peaks = observe.channel_peaks(lambda feed: {"t": values}, [batch, batch], ["t"], "p")  # type: ignore[list-item]
    assert peaks["t"].tolist() == [2.0, 5.0]
