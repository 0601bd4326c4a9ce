"""Roundings that make up for each other: by hand, against the method without shortcuts, in every format."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deploy.graph import nodes as graph
from deploy.graph import products
from deploy.precision import eight_bits, rounding
from deploy.precision.eight_bits import EightBits
from deploy.precision.weights import Weights


def _inputs(rows: int, channels: int, seed: int) -> np.ndarray:
    """Rows whose channels go together, as hidden states do."""
    generator = np.random.default_rng(seed)
    few = generator.normal(size=(rows, channels // 4)) @ generator.normal(size=(channels // 4, channels))
    return (few + 0.3 * generator.normal(size=(rows, channels))).astype(np.float32)


def test_the_second_weight_makes_up_for_the_first() -> None:
    """Two inputs that are nearly equal, by hand: 0.4 and 0.4 become 0 and 1, where nearest gives 0 and 0.

    With H = [[1, 0.99], [0.99, 1]] an error of 0.4 in the first weight is worth 0.4 * 0.99 / 1.01 = 0.392
    of the second (0.01 is the damping), which is then 0.792.
    """
    moments = np.array([[1.0, 0.99], [0.99, 1.0]])
    scaled = np.array([[0.4], [0.4]])
    assert rounding.compensated(scaled, moments, eight_bits.nearest_integer)[:, 0].tolist() == [0, 1]
    assert eight_bits.nearest_integer(scaled)[:, 0].tolist() == [0, 0]
    # With 0.1 it is 0.492, and not rounded up; with 0.109 it is 0.501.
    scaled = np.array([[0.4], [0.1]])
    assert rounding.compensated(scaled, moments, eight_bits.nearest_integer)[:, 0].tolist() == [0, 0]
    scaled = np.array([[0.4], [0.109]])
    assert rounding.compensated(scaled, moments, eight_bits.nearest_integer)[:, 0].tolist() == [0, 1]


def test_the_channel_that_carries_most_is_rounded_first() -> None:
    """Whichever place it has: the large input's weight is rounded to the nearest, the other one pays."""
    moments = np.array([[4.0, 1.9], [1.9, 1.0]])
    for order in ([0, 1], [1, 0]):
        rounded = rounding.compensated(
            np.array([[0.4], [0.4]])[order], moments[np.ix_(order, order)], eight_bits.nearest_integer
        )
        # 0.4 * 1.9 / (1 + damping) = 0.74 goes to the small one.
        assert rounded[order][:, 0].tolist() == [0, 1]


def test_inputs_that_have_nothing_to_do_with_each_other_are_rounded_to_the_nearest() -> None:
    """A diagonal of second moments leaves nothing to make up for; neither do inputs that are always 0."""
    scaled = np.random.default_rng(0).normal(0, 20, (300, 7))
    for moments in (np.diag(np.linspace(0.5, 9, 300)), np.zeros((300, 300))):
        rounded = rounding.compensated(scaled, moments, eight_bits.nearest_integer)
        np.testing.assert_array_equal(rounded, eight_bits.nearest_integer(scaled))


def _without_shortcuts(scaled: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Optimal brain quantization in that order (Frantar and Alistarh 2022, eq. 2, 3), inverse by inverse."""
    left, integers = scaled.astype(np.float64), np.zeros(scaled.shape, np.int8)
    damped = moments.astype(np.float64)
    damped += rounding.DAMPING * np.diagonal(damped).mean() * np.eye(len(damped))
    open_rows = list(np.argsort(-np.diagonal(moments), kind="stable"))
    while open_rows:
        row = open_rows[0]
        inverse = np.linalg.inv(damped[np.ix_(open_rows, open_rows)])
        integers[row] = eight_bits.nearest_integer(left[row], 64)
        left[open_rows] -= np.outer(inverse[:, 0] / inverse[0, 0], left[row] - integers[row])
        open_rows.pop(0)
    return integers


def test_the_same_as_without_shortcuts() -> None:
    """More channels than a block has: each step solved anew gives the same integers."""
    inputs = _inputs(900, 160, 1)
    moments = inputs.T @ inputs
    scaled = np.random.default_rng(2).normal(0, 12, (160, 5)).astype(np.float32)
    integers = rounding.compensated(scaled, moments, lambda values: eight_bits.nearest_integer(values, 64))
    np.testing.assert_array_equal(integers, _without_shortcuts(scaled, moments))


@pytest.mark.parametrize(
    "numbers", [EightBits("u8", 64), EightBits("s8", half_scales=True), EightBits("e4m3")], ids=str
)
def test_products_of_other_rows_come_nearer(numbers: EightBits) -> None:
    """The scales stay, every value is one that the format holds, and other rows see a smaller error."""
    calibration, unseen = np.split(_inputs(4000, 64, 3), 2)
    weight = np.random.default_rng(4).normal(size=(64, 24)).astype(np.float32)
    plain, scales, _ = numbers.weight(weight)
    rounded, same, zeros = numbers.weight(weight, calibration.T @ calibration)
    np.testing.assert_array_equal(scales, same)
    assert rounded.dtype == plain.dtype == zeros.dtype
    assert np.abs(rounded.astype(np.float32)).max() <= (448 if numbers.kind == "e4m3" else numbers.largest)

    def error(values: np.ndarray) -> float:
        return float(np.square(unseen @ (values.astype(np.float32) * scales - weight)).mean())

    assert error(rounded) < 0.6 * error(plain)


def test_a_weight_that_two_inputs_share_is_rounded_for_both() -> None:
    """Stored transposed or not: by the sum of the moments; without moments, to the nearest."""
    generator = np.random.default_rng(5)
    weight = generator.normal(size=(6, 16)).astype(np.float32)
    info = helper.make_tensor_value_info
    graph_proto = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w"], ["a"], "first", transB=1),
            helper.make_node("Gemm", ["y", "w"], ["b"], "second", transB=1),
            helper.make_node("Add", ["a", "b"], ["z"], "sum"),
        ],
        "g",
        [info("x", TensorProto.FLOAT, ["n", 16]), info("y", TensorProto.FLOAT, ["n", 16])],
        [info("z", TensorProto.FLOAT, ["n", 6])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph_proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    both = products.find(model)
    moments = {name: rows.T @ rows for name, rows in (("x", _inputs(90, 16, 6)), ("y", _inputs(90, 16, 7)))}
    numbers = EightBits("u8", 64)
    for second_moments, arrays in (
        (moments, numbers.weight(weight.T, moments["x"] + moments["y"])),
        (None, numbers.weight(weight.T)),
    ):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        Weights(both, graph.Index(copy), numbers, second_moments).add(copy, "w")
        index = graph.Index(copy)
        for suffix, array in zip(("_q", "_scale", "_zero"), arrays, strict=True):
            np.testing.assert_array_equal(index.array(f"w{suffix}"), array)
