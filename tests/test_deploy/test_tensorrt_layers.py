"""The inspector's JSON of TensorRT 8, 10 and 11: precisions, fused attention, and what was not as asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.tensorrt import layers, summary
from deploy.tensorrt.layers import Layer

QUERY, DENSE, HEAD = "/layer.0/query/MatMul", "/layer.0/dense/MatMul", "/classifier/Gemm"


def _tensor(version: int, kind: str) -> dict[str, Any]:
    if version == 11:
        return {"Name": "x", "Dimensions": [1, 8], "Format": "Linear", "DataType": kind}
    named = {
        "FP16": "Row major linear FP16",
        "Int8": "Thirty-two wide channel vectorized row major Int8 format",
    }
    return {"Name": "x", "Dimensions": [1, 8], "Format/Datatype": named.get(kind, f"Row major linear {kind}")}


def report(version: int) -> str:
    """An engine with an INT8 product, an FP32 one, fused attention and a layer on indices."""

    def layer(name: str, kind: str, tactic: str, *types: str, metadata: str = "") -> dict[str, Any]:
        return {
            "Name": name,
            "LayerType": kind,
            "Inputs": [_tensor(version, type_name) for type_name in types],
            "Outputs": [_tensor(version, types[0])],
            "TacticName": tactic,
            "Metadata": metadata,
        }

    tensors = "I/O Tensors" if version == 11 else "Bindings"
    listed: list[Any] = ["input_ids", "logits"]
    if version == 11:
        listed = [{"Name": name} for name in listed]
    return json.dumps(
        {
            "Layers": [
                layer(f"{QUERY} + {QUERY}_bias", "gemm", "sm90_xmma_gemm_i8", "Int8", "Int8"),
                layer(
                    "__myl_Gemm_7",
                    "gemm",
                    "sm90_gemm_f32",
                    "FP32",
                    metadata=f"[ONNX Layer: {DENSE}]\x1e[ONNX Layer: /a]",
                ),
                layer("__mye_12", "kgen", "_gemm_mha_v2_myl0_7", "FP16", "FP16", "FP16"),
                layer("gather_ids", "Gather", "", "Int64"),
            ],
            tensors: listed,
        }
    )


@pytest.mark.parametrize("version", [8, 10, 11])
def test_every_version_reads_alike(version: int) -> None:
    """Same layers, same precisions, same counts, whichever keys the version writes."""
    engine_layers = layers.read(report(version))
    assert [layer.precision for layer in engine_layers] == ["int8", "fp32", "fp16", "other"]
    assert [layer.fused_attention for layer in engine_layers] == [False, False, True, False]
    assert layers.count_fused_attention(engine_layers) == 1
    assert layers.precisions(engine_layers) == {"int8": 1, "fp16": 1, "fp32": 1, "other": 1}
    assert [Layer.model_validate_json(layer.model_dump_json()) for layer in engine_layers] == list(
        engine_layers
    )


def test_int8_that_ran_in_fp32_is_said() -> None:
    """The product that was fused under another name too; what ran as asked is not mentioned."""
    findings = layers.findings(layers.read(report(10)), {QUERY: "int8", DENSE: "int8"}, attention=1)
    assert findings == (f"INT8 was asked for and {DENSE} (in layer __myl_Gemm_7) ran in FP32",)
    assert layers.findings(layers.read(report(10)), {QUERY: "int8", DENSE: "fp32"}, attention=1) == ()


def test_unfused_attention_is_said() -> None:
    """Two blocks in the graph, one fused kernel."""
    assert layers.findings(layers.read(report(10)), {}, attention=2) == (
        "1 of 2 attention blocks run as one fused kernel",
    )


def test_a_block_that_hides_its_inside_is_not_guessed_at() -> None:
    """TensorRT 8's ForeignNode takes FP32 indices and may hold INT8: neither claim is made."""
    text = json.dumps(
        {
            "Layers": [
                {
                    "Name": f"{{ForeignNode[/a...{HEAD}]}}",
                    "LayerType": "Myelin",
                    "Inputs": [_tensor(8, "FP32")],
                    "Metadata": f"[ONNX Layer: {QUERY}]",
                }
            ]
        }
    )
    findings = layers.findings(
        layers.read(text), {QUERY: "int8", HEAD: "int8", "/elsewhere/MatMul": "fp16"}, 2
    )
    assert findings == (
        "2 products that were asked for in INT8 lie in blocks whose inside is not shown",
        "1 products that were asked for in FP16 lie in blocks whose inside is not shown",
    )


def test_bare_names_give_no_precision() -> None:
    """An engine without detailed verbosity lists strings; profiles are told by their suffix."""
    engine_layers = layers.read(json.dumps({"Layers": ["a_1", "a_1 [profile 1]"]}))
    assert [(layer.name, layer.precision, layer.profile) for layer in engine_layers] == [
        ("a_1", "unknown", 0),
        ("a_1 [profile 1]", "unknown", 1),
    ]


def test_attention_is_counted_in_the_profile_that_has_least() -> None:
    """Fused in one profile and not in the other: the worse one counts."""
    both = [
        {"Name": "_gemm_mha_v2", "LayerType": "kgen"},
        {"Name": "gemm_1 [profile 1]", "LayerType": "gemm"},
    ]
    assert layers.count_fused_attention(layers.read(json.dumps({"Layers": both}))) == 0
    assert layers.count_fused_attention(()) == 0


@pytest.mark.parametrize(
    ("tensor", "precision"),
    [
        ({"Format/Datatype": "Two wide channel vectorized row major FP16 format"}, "fp16"),
        ({"Format/Datatype": "Row major linear BF16"}, "bf16"),
        ({"DataType": "Half"}, "fp16"),
        ({"DataType": "Float"}, "fp32"),
        ({"DataType": "FP8"}, "fp8"),
        ({"Format/Datatype": "Row major linear Int32"}, "other"),
        ({"DataType": "Bool"}, "other"),
        ({}, "unknown"),
    ],
)
def test_types_as_the_versions_spell_them(tensor: dict[str, str], precision: str) -> None:
    """Words inside the format, or the type alone."""
    assert layers.precision_of(tensor) == precision


def test_what_is_no_report_is_refused() -> None:
    """A JSON without layers is an error, not an engine without layers."""
    with pytest.raises(ValueError, match="no list 'Layers'"):
        layers.read('{"layers": []}')


def test_a_count_is_a_lower_bound_where_layers_hide_their_inside() -> None:
    """One block is seen fused and one layer is opaque: at least 1 of 2; all seen is all."""
    fused = Layer(name="a", type="x", precision="FP16", fused_attention=True)
    opaque = Layer(name="b", type="Myelin", precision="unknown", opaque=True)
    assert (
        summary._fused(1, 2, (fused, opaque))
        == "at least 1 of 2 blocks (layers that do not show their inside: 1)"
    )
    assert summary._fused(1, 2, (fused,)) == "1 of 2 blocks"
    assert summary._fused(1, 1, (fused, opaque)) == "1 of 1 blocks"
