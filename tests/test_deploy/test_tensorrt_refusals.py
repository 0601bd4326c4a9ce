"""What TensorRT's parser would refuse is told before a build, with the node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.errors import ModelError
from deploy.tensorrt import binding, parsing
from deploy.tensorrt.passport import BuildOptions


def _graph(*nodes: onnx.NodeProto, opset: int = 17, **constants: Any) -> onnx.ModelProto:
    info = helper.make_tensor_value_info
    graph_proto = helper.make_graph(
        list(nodes),
        "g",
        [info("x", TensorProto.FLOAT, ["b", 4])],
        [info("y", TensorProto.FLOAT, ["b", 4])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(
        graph_proto, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    )


def test_operators_of_onnx_runtime_are_named() -> None:
    """With the stage that made them and the option that avoids them."""
    model = _graph(helper.make_node("FastGelu", ["x"], ["y"], "gelu", domain="com.microsoft"))
    (problem,) = parsing.problems(model, fake_tensorrt.can())
    assert str(problem) == (
        "com.microsoft.FastGelu 'gelu': an operator of ONNX Runtime's own, which optimize-onnx made; "
        "build the graph that export-onnx made (export without --fuse)"
    )


def test_zero_points_must_be_zero() -> None:
    """A symmetric pair passes; others are named, with the zero point or what made it so."""

    def pair(zero: Any) -> onnx.ModelProto:
        return _graph(
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q0"),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "d0"),
            s=np.float32(0.1),
            z=zero,
        )

    assert parsing.problems(pair(np.int8(0)), fake_tensorrt.can()) == []
    problems = parsing.problems(pair(np.int8(3)), fake_tensorrt.can())
    assert [(problem.node, problem.operator) for problem in problems] == [
        ("q0", "QuantizeLinear"),
        ("d0", "DequantizeLinear"),
    ]
    assert "asymmetric: a zero point of 3; TensorRT takes zero points of 0 alone: paredown quantize" in str(
        problems[0]
    )
    assert "unsigned integers (quantize-onnx with target cpu)" in str(
        parsing.problems(pair(np.uint8(0)), fake_tensorrt.can())[0]
    )
    with pytest.raises(
        ModelError, match=r"TensorRT 11.4.0 does not take this graph. QuantizeLinear 'q0'.*1 more"
    ):
        parsing.refuse(problems, "TensorRT 11.4.0")


def test_the_attention_operator_needs_halves() -> None:
    """In FP32 it is refused with the option of the export, as FP16 it passes."""
    plain = _graph(
        helper.make_node("Unsqueeze", ["x", "a"], ["x3"], "up"),
        helper.make_node("Attention", ["x3", "x3", "x3"], ["y3"], "att", q_num_heads=1, kv_num_heads=1),
        helper.make_node("Squeeze", ["y3", "a"], ["y"], "down"),
        opset=23,
        a=np.array([0], dtype=np.int64),
    )
    (problem,) = parsing.problems(plain, fake_tensorrt.can())
    assert (problem.node, problem.operator) == ("att", "Attention")
    assert "--opset 17 to 20" in str(problem)
    plain.graph.node.insert(0, helper.make_node("Cast", ["x"], ["h"], "half", to=TensorProto.FLOAT16))
    plain.graph.node[1].input[0] = "h"
    plain.graph.node.append(helper.make_node("Cast", ["yh"], ["y"], "back", to=TensorProto.FLOAT))
    plain.graph.node[3].output[0] = "yh"
    assert parsing.problems(plain, fake_tensorrt.can()) == []


def test_tensorrt_8_reads_older_opsets_only() -> None:
    """Opset 18 is refused with the export's option; 17 passes, and newer versions take both."""
    node = helper.make_node("Identity", ["x"], ["y"], "i")
    (problem,) = parsing.problems(_graph(node, opset=18), fake_tensorrt.can("8.6.0"))
    assert "opset 18" in str(problem)
    assert "paredown export MODEL --opset 17" in str(problem)
    assert parsing.problems(_graph(node), fake_tensorrt.can("8.6.0")) == []
    assert parsing.problems(_graph(node, opset=20), fake_tensorrt.can("10.16.1")) == []


@pytest.mark.parametrize(("version", "node"), [("10.16.1", "named"), ("8.6.0", "einsum")])
def test_what_only_the_parser_knows_is_told_with_the_node(version: str, node: str, tmp_path: Path) -> None:
    """By its own name for it, or by looking the number up in the graph (TensorRT 8)."""
    model = _graph(helper.make_node("Einsum", ["x"], ["y"], "einsum", equation="ij->ij"))
    file = tmp_path / "model.onnx"
    onnx.save(model, str(file))
    tensorrt = binding.Binding(fake_tensorrt.module(version))
    with pytest.raises(binding.ParserRefusal) as refusal:
        tensorrt.compile(file, binding.Request(BuildOptions(), ()))
    message = parsing.explain(refusal.value.problems, model, tensorrt.can.name)
    assert message == (
        f"TensorRT {version} does not take Einsum '{node}': 'no importer'; export with another --exporter "
        "(torchscript or dynamo) or --opset (17 to 20): both write other nodes"
    )
    assert "gives no reason" in parsing.explain((), model, "TensorRT")
