"""Multiply-accumulates and parameters of small graphs, counted by hand, and against PyTorch's counter."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
from onnx import TensorProto, helper, numpy_helper

from bench.probes import _graph_costs


def graph(
    folder: Path, nodes: list[Any], inputs: dict[str, list[Any]], weights: dict[str, np.ndarray]
) -> Path:
    """A graph in a file; its output is the last node's."""
    graph_proto = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph_proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def zeros(*shape: int) -> np.ndarray:
    """Zeros in FP32."""
    return np.zeros(shape, dtype=np.float32)


@pytest.mark.parametrize(
    ("a", "b", "macs"),
    [
        ((2, 3), (3, 5), 30),
        ((4, 2, 3), (3, 5), 120),
        ((4, 2, 3), (4, 3, 5), 120),
        ((1, 2, 3), (7, 3, 5), 210),
        ((3,), (3, 5), 15),
        ((2, 3), (3,), 6),
    ],
)
def test_matmul_by_hand(a: tuple[int, ...], b: tuple[int, ...], macs: int) -> None:
    """Rows times inner size times columns, times the broadcast batch."""
    assert _graph_costs.matmul(a, b) == macs


def test_other_products_by_hand() -> None:
    """Gemm in all four orientations, convolution with groups, attention, fused attention and einsum."""
    assert _graph_costs.gemm((2, 3), (3, 5), False, False) == 30
    assert _graph_costs.gemm((3, 2), (5, 3), True, True) == 30
    assert _graph_costs.matmul((2, 3), (5, 3), transposed=True) == 30
    assert _graph_costs.convolution((8, 2, 3, 3), (1, 8, 10, 10)) == 800 * 18
    assert _graph_costs.attention((1, 4, 6, 8), (1, 4, 5, 8), (1, 4, 5, 8)) == 4 * 6 * 5 * 16
    assert _graph_costs.attention((1, 6, 32), (1, 5, 32), (1, 5, 32)) == 4 * 6 * 5 * 16
    assert _graph_costs.fused_attention((1, 6, 32), (32, 96), None) == 6 * 32 * 96 + 6 * 6 * 64
    assert _graph_costs.fused_attention((1, 6, 32), (32, 40), (16, 16, 8)) == 6 * 32 * 40 + 6 * 6 * 24
    assert _graph_costs.einsum("bij, bjk -> bik", [(2, 3, 4), (2, 4, 5)]) == 120


def test_a_graph_with_a_free_batch_is_counted_at_the_feed(tmp_path: Path) -> None:
    """The batch size that a reshape computes at run time is in the count; the weights are the parameters."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
        helper.make_node("MatMul", ["y", "w"], ["z"]),
        helper.make_node("Gemm", ["z", "v", "c"], ["out"], transB=1),
    ]
    file = graph(tmp_path, nodes, {"x": ["batch", 4]}, {"w": zeros(4, 6), "v": zeros(2, 6), "c": zeros(2)})
    for batch in (1, 3):
        costs = _graph_costs.measure(file, {"x": zeros(batch, 4)})
        assert costs == _graph_costs.Costs(macs=batch * (24 + 12), parameters=24 + 12 + 2, uncounted=())


def test_a_convolution_is_counted_by_its_output(tmp_path: Path) -> None:
    """Stride and padding change the output, and with it the count."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["out"], strides=[2, 2], group=2)]
    file = graph(tmp_path, nodes, {"x": ["n", 4, 8, 8]}, {"w": zeros(6, 2, 2, 2)})
    assert _graph_costs.measure(file, {"x": zeros(1, 4, 8, 8)}).macs == 6 * 4 * 4 * 2 * 2 * 2


def test_scales_and_zero_points_are_no_parameters(tmp_path: Path) -> None:
    """A dequantized weight and bias count; scales, zero points, shapes and scalars do not."""
    weights = {
        "w": np.zeros((4, 6), dtype=np.int8),
        "w_s": np.ones(6, dtype=np.float32),
        "w_z": np.zeros(6, dtype=np.int8),
        "b": np.zeros(6, dtype=np.int32),
        "b_s": np.ones(6, dtype=np.float32),
        "shape": np.array([-1, 6], dtype=np.int64),
        "half": np.float32(0.5),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "w_s", "w_z"], ["wf"], axis=1),
        helper.make_node("DequantizeLinear", ["b", "b_s"], ["bf"], axis=0),
        helper.make_node("MatMul", ["x", "wf"], ["m"]),
        helper.make_node("Add", ["m", "bf"], ["n"]),
        helper.make_node("Mul", ["n", "half"], ["h"]),
        helper.make_node("Reshape", ["h", "shape"], ["out"]),
    ]
    costs = _graph_costs.measure(graph(tmp_path, nodes, {"x": ["n", 4]}, weights), {"x": zeros(2, 4)})
    assert (costs.macs, costs.parameters) == (48, 30)


def test_what_is_not_counted_is_said(tmp_path: Path) -> None:
    """An operator with products inside that the count leaves out is named."""
    nodes = [helper.make_node("ConvTranspose", ["x", "w"], ["out"])]
    costs = _graph_costs.measure(
        graph(tmp_path, nodes, {"x": ["n", 2, 4, 4]}, {"w": zeros(2, 3, 2, 2)}), {"x": zeros(1, 2, 4, 4)}
    )
    assert costs.macs == 0
    assert costs.uncounted == ("ConvTranspose",)


@pytest.mark.slow
def test_an_exported_transformer_costs_what_pytorch_counts(tmp_path: Path) -> None:
    """The exported graph, the same with external data, and its INT8 version all cost what PyTorch says."""
    import torch
    from onnxruntime.quantization import quantize_dynamic
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertForSequenceClassification

    folder = tiny.text_model(tmp_path / "model")
    model = BertForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.inner(input_ids=ids, attention_mask=mask).logits

    example = torch.ones(2, 8, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits(),
            (example, example),
            tmp_path / "model.onnx",
            dynamo=False,
            opset_version=17,
            input_names=["ids", "mask"],
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in ("ids", "mask")},
        )
    feed = {name: np.ones((1, 16), dtype=np.int64) for name in ("ids", "mask")}
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        model(
            input_ids=torch.ones(1, 16, dtype=torch.long), attention_mask=torch.ones(1, 16, dtype=torch.long)
        )
    expected = _graph_costs.Costs(
        macs=counter.get_total_flops() // 2,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        uncounted=(),
    )
    assert _graph_costs.measure(tmp_path / "model.onnx", feed) == expected
    outside = tmp_path / "outside"
    outside.mkdir()
    onnx.save(
        onnx.load(tmp_path / "model.onnx"),
        outside / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    assert _graph_costs.measure(outside / "model.onnx", feed) == expected
    quantize_dynamic(tmp_path / "model.onnx", tmp_path / "int8.onnx", per_channel=True)
    assert _graph_costs.measure(tmp_path / "int8.onnx", feed) == expected
