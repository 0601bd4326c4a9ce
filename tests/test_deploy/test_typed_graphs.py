"""The graphs for TensorRT, node by node: where pairs stand, types of all tensors, how far outputs move."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
import tiny_deploy
from onnx import TensorProto, helper, numpy_helper

from bench.probes import _graph_costs
from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import RecipeError, UserError
from compress.model import checkpoint
from compress.pruning import surgery
from compress.pruning.surgery import Plan
from compress.tasks import text_classification
from deploy.checking.outputs import collect
from deploy.encoder import Encoder
from deploy.graph import convolutions, products
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.graph.reference import reference_infer
from deploy.opening import runner
from deploy.precision import eight_bits, guard, half
from deploy.session import infer_with, open_session

HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
EIGHTS = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
# Everything that must not take a dequantized tensor.
FORBIDDEN = {"Softmax", "LayerNormalization", "Erf", "Gelu", "Tanh", "Gather", "Where", "Cast"}
LAYERS = 2


def _pruned(folder: Path) -> Artifact:
    """A text classifier with three heads of four in one layer, and other FFN widths in each."""
    source = tiny_deploy.text_artifact(folder.with_name("whole"))
    model = checkpoint.load(source.path, text_classification)
    units = {"layer.0.heads": (0, 2, 3), "layer.0.ffn": tuple(range(16)), "layer.1.ffn": tuple(range(48))}
    surgery.apply(model, Plan(units=units))
    folder.mkdir()
    checkpoint.save(model, folder, source=source.path)
    return tiny_deploy.seal(folder)


def _image_rows() -> list[dict[str, Any]]:
    draws = np.random.default_rng(0).integers(0, 256, size=(12, 8, 8), dtype=np.uint8)
    return [{"image": image} for image in draws]


MODELS: dict[str, tuple[Callable[[Path], Artifact], Callable[[], list[dict[str, Any]]]]] = {
    "text": (tiny_deploy.text_artifact, lambda: tiny_deploy.text_rows(12)),
    "pruned": (_pruned, lambda: tiny_deploy.text_rows(12)),
    "tokens": (
        tiny_deploy.token_artifact,
        lambda: [{"tokens": row["text"].split()} for row in tiny_deploy.text_rows(12)],
    ),
    "images": (tiny_deploy.image_artifact, _image_rows),
}
Make = Callable[..., tuple[Artifact, dict[str, Any]]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes the graph of a model: FP32, quantized, typed; each step once."""
    root = tmp_path_factory.mktemp("typed")
    graphs: dict[str, tuple[Artifact, dict[str, Any]]] = {}

    def step(name: str, stage: str, source: str, rows: Any, **options: Any) -> None:
        if name not in graphs:
            ran = tiny_deploy.run(stage, graphs[source][0], root / name, rows, **options)
            graphs[name] = ran.artifact, ran.facts

    def build(
        model: str, precision: str, float_precision: str = "fp32", **options: Any
    ) -> tuple[Artifact, dict[str, Any]]:
        builder, make_rows = MODELS[model]
        rows = make_rows()
        if model not in graphs:
            graphs[model] = builder(root / model), {}
        name = f"{model}-fp32"
        step(name, "export_onnx", model, rows)
        if precision in EIGHTS:
            text = "".join(f"-{key}={value}" for key, value in options.items())
            source, name = name, f"{model}-{precision}{text}"
            settings = {"precision": precision, "target": "tensorrt", "keep_float": "none", "tame": False}
            step(name, "quantize_onnx", source, rows, **settings, **options)
        if float_precision != "fp32":
            source, name = name, f"{name}-{float_precision}"
            step(name, "half_precision", source, rows, precision=float_precision)
        return graphs[name]

    return build


def _load(artifact: Artifact) -> tuple[onnx.ModelProto, graph.Index]:
    model = graph.load(artifact.file("model.onnx"))
    return model, graph.Index(model)


def _of(model: onnx.ModelProto, *kinds: str) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type in kinds)


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """The type of every tensor, by ONNX's own strict inference, which refuses what does not fit."""
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    types = {tensor.name: tensor.data_type for tensor in inferred.graph.initializer}
    for info in (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info):
        types[info.name] = info.type.tensor_type.elem_type
    return types


def _value(array: np.ndarray) -> np.ndarray:
    return np.asarray(array).astype(np.float32)


@pytest.mark.parametrize("precision", EIGHTS)
@pytest.mark.parametrize("model", MODELS)
def test_pairs_stand_around_weight_products_and_nowhere_else(model: str, precision: str, make: Make) -> None:
    """Symmetric, one scale a tensor, shared by products of one input; weights one scale a channel."""
    plain, _ = _load(make(model, "fp32")[0])
    artifact, _ = make(model, precision)
    quantized, index = _load(artifact)
    expected = [product for product in products.find(plain) if not product.head]
    assert len(expected) >= 6 * LAYERS
    quantizers = {node.input[0]: node for node in _of(quantized, "QuantizeLinear")}
    maps = convolutions.find(plain) if precision == "int8" else []  # they stay float in FP8
    inputs = {product.input for product in expected} | {convolution.input for convolution in maps}
    assert set(quantizers) == inputs, "one pair an input, and none elsewhere"
    assert sum(node.op_type == "QuantizeLinear" for node in quantized.graph.node) == len(quantizers)
    for node in quantizers.values():
        scale, zero = index.array(node.input[1]), index.array(node.input[2])
        assert (scale.shape, zero.shape) == ((), ())
        assert float(scale) > 0
        assert _value(zero) == 0
        assert index.constants[node.input[2]].data_type == EIGHTS[precision]
    named = {product.name: product for product in expected}
    dequantized = {name for node in _of(quantized, "DequantizeLinear") for name in node.output}
    for node in quantized.graph.node:
        fed = [name for name in node.input if name in dequantized]
        if node.name not in named:
            assert bool(fed) == (node.name in {convolution.name for convolution in maps}), node.name
            continue
        assert (node.op_type, fed) == ("MatMul", list(node.input))
        product, (left, right) = named[node.name], (index.maker[name] for name in node.input)
        assert index.maker[left.input[0]].input[0] == product.input
        assert left.input[1:] == index.maker[left.input[0]].input[1:]
        values, scales, zeros = (index.array(name) for name in right.input)
        original = graph.Index(plain).array(product.weight)
        original = original.T if product.transposed else original
        assert (values.shape, scales.shape, zeros.shape) == (
            product.shape,
            product.shape[1:],
            product.shape[1:],
        )
        assert graph.attribute(right, "axis", 1) == 1
        assert not _value(zeros).any()
        assert index.constants[right.input[0]].data_type == EIGHTS[precision]
        largest = 127 if precision == "int8" else eight_bits.E4M3_LARGEST
        np.testing.assert_allclose(scales, np.abs(original).max(axis=0) / largest, rtol=2**-10)
        step = scales / 2 if precision == "int8" else np.maximum(np.abs(original) / 16, scales * 2**-9)
        assert (np.abs(_value(values) * scales - original) <= step * 1.01 + 1e-7).all()
    assert not dequantized & {tensor.name for tensor in quantized.graph.output}
    facts = graph_facts.read(artifact)
    assert (facts.precision, facts.rest, facts.target, facts.opset) == (precision, "fp32", "tensorrt", 19)
    _types(quantized)


def test_query_key_and_value_share_one_pair(make: Make) -> None:
    """Three products a layer behind one QuantizeLinear, where heads were removed too."""
    for model in ("text", "pruned", "images"):
        quantized, index = _load(make(model, "int8")[0])
        sharing = [len(index.takers[node.output[0]]) for node in _of(quantized, "DequantizeLinear")]
        assert sorted(sharing)[-LAYERS:] == [3] * LAYERS
        assert sorted(sharing)[:-LAYERS] == [1] * (len(sharing) - LAYERS)


def test_pruned_heads_keep_their_size(make: Make) -> None:
    """Widths are heads times the head size of the whole model: what attention is reshaped to shows it."""
    proto, _ = _load(make("pruned", "fp32")[0])
    shapes = {product.name: product.shape for product in products.find(proto)}
    widths = [shapes[f"/model/bert/encoder/layer.{i}/attention/self/query/MatMul"] for i in range(LAYERS)]
    assert widths == [(32, 24), (32, 32)]
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    sizes = {
        info.name: [size.dim_value for size in info.type.tensor_type.shape.dim]
        for info in inferred.graph.value_info
    }
    scores = [product.tensors for product in products.attention(proto)]
    heads = [(sizes[left][1], sizes[left][3]) for left, _ in scores[::2]]
    assert heads == [(3, 8), (4, 8)]


@pytest.mark.parametrize("precision", EIGHTS)
def test_attention_takes_pairs_where_asked(precision: str, make: Make) -> None:
    """Before both products of attention and, at the next projection, after the second; shares span 0 to 1."""
    for model in ("text", "pruned", "images"):
        quantized, index = _load(make(model, precision, attention=True)[0])
        plain, _ = _load(make(model, "fp32")[0])
        for product in products.attention(plain):
            node = next(node for node in quantized.graph.node if node.name == product.name)
            makers = [index.maker[name] for name in node.input]
            assert [maker.op_type for maker in makers] == ["DequantizeLinear"] * 2
            assert [index.maker[maker.input[0]].input[0] for maker in makers] == list(product.tensors)
        shares = [node.output[0] for node in _of(quantized, "Softmax")]
        assert len(shares) == LAYERS
        largest = 127 if precision == "int8" else eight_bits.E4M3_LARGEST
        for name in shares:
            (quantizer,) = index.takers[name]
            while quantizer.op_type == "Cast":  # to the type that it has already
                (quantizer,) = index.takers[quantizer.output[0]]
            assert float(index.array(quantizer.input[1])) == pytest.approx(1 / largest, rel=2**-10)
        assert (
            not {
                taker.op_type
                for node in _of(quantized, "DequantizeLinear")
                for taker in index.takers[node.output[0]]
            }
            & FORBIDDEN
        )
        _types(quantized)


def test_residual_sums_take_pairs_where_asked(make: Make) -> None:
    """After LayerNorm the pair that the next product has anyway; before it a pair of their own."""
    for model, more in (("text", 0), ("pruned", 0), ("images", 2 * LAYERS)):
        without, _ = _load(make(model, "int8")[0])
        quantized, index = _load(make(model, "int8", residual=True)[0])
        count = len(list(_of(quantized, "QuantizeLinear"))) - len(list(_of(without, "QuantizeLinear")))
        assert count == more
        sums = [
            node
            for node in _of(quantized, "Add")
            if any(index.maker.get(name, node).op_type == "DequantizeLinear" for name in node.input)
        ]
        assert len(sums) == 2 * LAYERS
        for node in sums:
            makers = [index.maker[name].op_type for name in node.input]
            assert sorted(makers) in (["Add", "DequantizeLinear"], ["DequantizeLinear", "MatMul"])
        _types(quantized)


def test_the_head_is_quantized_where_asked(make: Make) -> None:
    """By default it is the one product without a pair."""
    plain, index = _load(make("text", "int8")[0])
    head = next(node for node in plain.graph.node if node.name == "/model/classifier/Gemm")
    assert head.op_type == "Gemm"
    assert head.input[0] not in {name for node in _of(plain, "DequantizeLinear") for name in node.output}
    quantized, index = _load(make("text", "int8", head=True)[0])
    head = next(node for node in quantized.graph.node if node.name == "/model/classifier/Gemm")
    assert [index.maker[name].op_type for name in head.input] == ["DequantizeLinear"] * 2
    assert products.find(quantized) == []


@pytest.mark.parametrize("float_precision", HALVES)
@pytest.mark.parametrize("precision", ["none", *EIGHTS])
@pytest.mark.parametrize("model", MODELS)
def test_every_tensor_of_a_typed_graph_is_half(
    model: str, precision: str, float_precision: str, make: Make
) -> None:
    """Products, attention, softmax, LayerNorm, scales and the head in halves; FP32 only at the border."""
    artifact, facts = make(model, precision, float_precision)
    assert facts["kept_float"] == {}
    typed, _ = _load(artifact)
    types, kind = _types(typed), HALVES[float_precision]
    assert all(types.get(name) for node in typed.graph.node for name in node.output if name)
    heads = [
        product
        for product in products.find(graph.load(make(model, "fp32")[0].file("model.onnx")))
        if product.head
    ]
    assert len(heads) == 1
    checked = set()
    for node in _of(
        typed, "MatMul", "Gemm", "Softmax", "LayerNormalization", "Erf", "Tanh", "Add", "Mul", "Div"
    ):
        used = {types[name] for name in (*node.input, *node.output) if name}
        if used & {TensorProto.INT64, TensorProto.BOOL, TensorProto.INT32}:
            continue  # shape arithmetic
        assert used == {kind}, (node.name, used)
        checked.add(node.name)
    assert {product.name for product in heads} <= checked
    assert {product.name for product in products.attention(typed)} <= checked
    norms = list(_of(typed, "LayerNormalization"))
    assert norms
    for node in norms:
        stash = [attribute.i for attribute in node.attribute if attribute.name == "stash_type"]
        assert stash == [TensorProto.FLOAT], "mean and variance in FP32, said and not left to a default"
    for node in _of(typed, "QuantizeLinear", "DequantizeLinear"):
        assert types[node.input[1]] == kind, "scales are halves"
        assert types[node.input[0] if node.op_type == "QuantizeLinear" else node.output[0]] == kind
    floats = {name for name, element in types.items() if element == TensorProto.FLOAT}
    border = {tensor.name for tensor in (*typed.graph.input, *typed.graph.output)}
    if float_precision == "bf16":  # before opset 22, Conv has no BF16
        border |= {name for node in _of(typed, "Conv") for name in (*node.input, *node.output)}
    assert floats <= border, floats - border
    facts_of = graph_facts.read(artifact)
    assert (facts_of.precision, facts_of.rest) == (
        (float_precision if precision == "none" else precision),
        float_precision,
    )


def test_scales_lose_nothing_on_the_way_to_halves(make: Make) -> None:
    """The integers of the typed graph are multiplied by exactly the scales that made them."""
    for precision in EIGHTS:
        plain, before = _load(make("text", precision)[0])
        _, after = _load(make("text", precision, "fp16")[0])
        scales = [node.input[1] for node in _of(plain, "DequantizeLinear")]
        assert scales
        for name in scales:
            names = [candidate for candidate in (name, f"{name}_fp16") if candidate in after.constants]
            np.testing.assert_array_equal(_value(after.array(names[0])), before.array(name))


def test_norms_can_stay_whole_in_fp32(make: Make, tmp_path: Path) -> None:
    """Every LayerNorm takes and gives FP32, and the record says why; the rest is half."""
    exported, _ = make("text", "fp32")
    run = tiny_deploy.run(
        "half_precision", exported, tmp_path / "whole", tiny_deploy.text_rows(12), norms="whole"
    )
    typed, _ = _load(run.artifact)
    types = _types(typed)
    norms = list(_of(typed, "LayerNormalization"))
    assert len(norms) == 2 * LAYERS + 1
    assert {types[name] for node in norms for name in (*node.input, *node.output)} == {TensorProto.FLOAT}
    assert run.facts["kept_float"] == {node.name: "norms: whole" for node in norms}
    assert {types[node.output[0]] for node in _of(typed, "MatMul")} == {TensorProto.FLOAT16}


def test_a_variance_that_is_written_out_stays_in_fp32() -> None:
    """From the square to the root, the sum in the middle too; 300 squared is no half."""
    nodes = [
        helper.make_node("Pow", ["x", "two"], ["square"], "square"),
        helper.make_node("ReduceMean", ["square"], ["mean"], "mean", axes=[-1], keepdims=1),
        helper.make_node("Add", ["mean", "epsilon"], ["sum"], "sum"),
        helper.make_node("Sqrt", ["sum"], ["root"], "root"),
        helper.make_node("Div", ["x", "root"], ["normed"], "normed"),
        helper.make_node("Mul", ["normed", "weight"], ["y"], "scaled"),
    ]
    info = helper.make_tensor_value_info
    constants = {
        "two": np.float32(2),
        "epsilon": np.float32(1e-12),
        "weight": np.array([1, 2, 3, 4], np.float32),
    }
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "rms",
            [info("x", TensorProto.FLOAT, ["b", 4])],
            [info("y", TensorProto.FLOAT, ["b", 4])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    assert guard.overflowing(model, {}) == {"sum": "epsilon is 1e-12, which FP16 rounds to 0"}
    assert half.convert(model, "fp16", frozenset()) == ["square", "mean", "sum", "root"]
    types = _types(model)
    assert [types[name] for name in ("square", "mean", "sum", "root")] == [TensorProto.FLOAT] * 4
    assert types["normed"] == TensorProto.FLOAT16
    x = np.array([[300, -300, 300, 300], [0, 0, 0, 0]], np.float32)
    outputs = np.asarray(reference_infer(model)({"x": x})["y"])
    assert outputs[0] == pytest.approx([1, -2, 3, 4], rel=1e-3)
    assert outputs[1].tolist() == [0, 0, 0, 0], "with an epsilon of 0 these are no numbers"


@pytest.mark.parametrize(
    ("precision", "float_precision"), [("int8", "fp32"), ("fp8", "fp32"), ("none", "fp16"), ("int8", "fp16")]
)
def test_masks_are_finite(precision: str, float_precision: str, make: Make) -> None:
    """No constant below -1e4, and a row of nothing but padding gives numbers."""
    artifact, facts = make("text", precision, float_precision)
    _, index = _load(artifact)
    lowest = min(
        float(_value(index.array(name)).min(initial=0.0))
        for name, tensor in index.constants.items()
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    )
    assert lowest == -1e4
    if precision == "int8" and float_precision == "fp32":
        assert len(facts["masks"]) == 1
    feed = {name: np.zeros((2, 6), np.int64) for name in ("input_ids", "token_type_ids", "attention_mask")}
    feed["attention_mask"][0, :3] = 1
    logits = infer_with(open_session(artifact.file("model.onnx"), threads=1))(feed)["logits"]
    assert np.isfinite(logits).all()


def test_tensorrt_8_gets_opset_17_and_fp32_scales(make: Make, tmp_path: Path) -> None:
    """The same pairs at the export's own opset; halves are the builder's, and a typed graph is refused."""
    artifact, _ = make("text", "int8", opset=17)
    quantized, _ = _load(artifact)
    newer, _ = _load(make("text", "int8")[0])
    types = _types(quantized)
    assert (graph.opset(quantized), graph_facts.read(artifact).opset) == (17, 17)
    pairs = list(_of(quantized, "QuantizeLinear", "DequantizeLinear"))
    assert [(node.op_type, node.name) for node in pairs] == [
        (node.op_type, node.name) for node in _of(newer, "QuantizeLinear", "DequantizeLinear")
    ]
    assert {types[node.input[1]] for node in pairs} == {TensorProto.FLOAT}
    rows = tiny_deploy.text_rows(12)
    with pytest.raises(
        UserError, match=r"FP32 scales of opset 17, for TensorRT 8\.6.*quantize with opset: 19"
    ):
        tiny_deploy.run("half_precision", artifact, tmp_path / "half", rows)
    torch = tiny_deploy.text_artifact(tmp_path / "torch")
    newer_export = tiny_deploy.run("export_onnx", torch, tmp_path / "onnx", rows, opset=18).artifact
    with pytest.raises(UserError, match=r"has opset 18 and opset 17 was asked for: export it with opset: 17"):
        tiny_deploy.run("quantize_onnx", newer_export, tmp_path / "lower", rows, target="tensorrt", opset=17)


def test_options_that_do_not_go_together_are_refused(make: Make, tmp_path: Path) -> None:
    """FP8 and pairs on attention and residuals are TensorRT's; what is half already stays."""
    exported, _ = make("text", "fp32")
    rows = tiny_deploy.text_rows(12)

    def run(name: str, **options: Any) -> None:
        tiny_deploy.run("quantize_onnx", exported, tmp_path / name, rows, **options)

    for name, options, reason in (
        ("a", {"precision": "fp8"}, "only TensorRT multiplies FP8: write target: tensorrt"),
        ("b", {"attention": True}, "attention puts pairs where TensorRT wants them"),
        ("c", {"residual": True, "mode": "static"}, "residual puts pairs where TensorRT wants them"),
        ("d", {"precision": "fp8", "target": "tensorrt", "opset": 17}, "FP8 exists from opset 19 on"),
    ):
        with pytest.raises(RecipeError, match=reason):
            run(name, **options)
    newer = tiny_deploy.run("half_precision", exported, tmp_path / "newer", rows, opset=19)
    assert graph_facts.read(newer.artifact).opset == 19
    with pytest.raises(UserError, match="is fp16 already"):
        tiny_deploy.run("half_precision", newer.artifact, tmp_path / "again", rows)


def test_long_texts_keep_attention_in_halves(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT fuses INT8 attention up to 512 tokens: more is refused with what to do."""
    exported, _ = make("text", "fp32")
    real = Encoder.open

    def longer(*arguments: Any) -> Encoder:
        encoder = real(*arguments)
        return Encoder(encoder.task, encoder.config, encoder.processor, encoder.head, encoder.spec, 1024)

    monkeypatch.setattr(Encoder, "open", longer)
    with pytest.raises(UserError, match="takes 1024 tokens, and TensorRT fuses attention in INT8 up to 512"):
        tiny_deploy.run(
            "quantize_onnx",
            exported,
            tmp_path / "x",
            tiny_deploy.text_rows(8),
            target="tensorrt",
            attention=True,
        )


def test_fp8_is_refused_at_run_time_with_the_reason(make: Make) -> None:
    """On either device ONNX Runtime would only imitate it."""
    for float_precision in ("fp32", "fp16"):
        with (
            pytest.raises(UserError, match=r"no FP8 products.*compute capability 8\.9 or later"),
            runner(make("text", "fp8", float_precision)[0], threads=1),
        ):
            pass
    with (
        pytest.raises(UserError, match="CPU provider has no BF16 kernels"),
        runner(make("text", "int8", "bf16")[0], threads=1),
    ):
        pass


def _logits(artifact: Artifact, rows: list[dict[str, Any]]) -> np.ndarray:
    """Outputs on ONNX Runtime's CPU provider, which has kernels for eight-bit pairs of either kind."""
    task = catalog.load("task", artifact.task)
    encoder = Encoder.open(artifact.path, task)
    infer = infer_with(open_session(artifact.file("model.onnx"), threads=1))
    return collect(infer, encoder.batches(rows), task, encoder.head).arrays["logits"]


# Largest difference of a logit, as a share of the largest logit, through two layers: halves have 11 bits,
# integers 127 steps a side, FP8 four bits of mantissa.
TOLERANCE = {"none": 0.01, "int8": 0.1, "fp8": 0.2}


@pytest.mark.parametrize(
    ("precision", "float_precision", "options"),
    [
        ("none", "fp16", {}),
        ("int8", "fp32", {}),
        ("int8", "fp16", {}),
        ("int8", "fp16", {"attention": True, "residual": True, "head": True}),
        ("int8", "fp32", {"opset": 17}),
        ("fp8", "fp32", {}),
        ("fp8", "fp16", {}),
        ("fp8", "fp16", {"attention": True, "residual": True}),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_outputs_stay_near(
    model: str, precision: str, float_precision: str, options: dict[str, Any], make: Make
) -> None:
    """Every kind of graph on every kind of model, against FP32, within the share that its bits explain."""
    rows = MODELS[model][1]()
    expected = _logits(make(model, "fp32")[0], rows)
    logits = _logits(make(model, precision, float_precision, **options)[0], rows)
    assert not np.array_equal(logits, expected)
    assert np.abs(logits - expected).max() <= TOLERANCE[precision] * np.abs(expected).max()


def test_quantizing_changes_neither_products_nor_parameters(make: Make) -> None:
    """Multiply-accumulates and stored numbers are those of the FP32 graph in every precision."""
    feed = {name: np.ones((1, 8), np.int64) for name in ("input_ids", "token_type_ids", "attention_mask")}
    expected = _graph_costs.measure(make("text", "fp32")[0].file("model.onnx"), feed)
    for precision, float_precision in (("int8", "fp32"), ("int8", "fp16"), ("fp8", "fp32"), ("fp8", "fp16")):
        assert (
            _graph_costs.measure(make("text", precision, float_precision)[0].file("model.onnx"), feed)
            == expected
        )


def test_onnxruntime_and_the_reference_agree_on_fp8(make: Make) -> None:
    """ONNX Runtime's FP8 kernels round as ONNX says: why parity of FP8 may rest on it."""
    artifact, _ = make("text", "fp8")
    encoder = Encoder.open(artifact.path, text_classification)
    feed = encoder.feed(tiny_deploy.text_rows(4))
    ort = infer_with(open_session(artifact.file("model.onnx"), threads=1))(feed)["logits"]
    np.testing.assert_allclose(ort, reference_infer(artifact.file("model.onnx"))(feed)["logits"], atol=1e-5)
    assert np.dtype(ml_dtypes.float8_e4m3fn).itemsize == 1


@pytest.mark.slow
def test_the_graphs_of_a_real_classifier_say_the_same(shared: Path, tmp_path: Path) -> None:
    """MiniLM on SST-2: each kind of graph decides like FP32 on 24 dev rows, and its logits stay near."""
    model = shared / "models" / "minilm-sst2"
    if not model.is_dir():
        pytest.skip("no models/minilm-sst2 among the shared data")
    source = tmp_path / "torch"
    shutil.copytree(model, source)
    for file in (source, *source.iterdir()):
        file.chmod(0o755 if file.is_dir() else 0o644)
    (source / "SOURCE.md").unlink()
    (source / "encoding.json").write_text('{"max_length": 66}')

    def rows(name: str, step: int) -> list[dict[str, Any]]:
        with gzip.open(shared / "data" / "sst2" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
            return [{"text": json.loads(line)["text"]} for line in stream][::step]

    calibration, dev = rows("train", 8000), rows("validation", 37)
    exported = tiny_deploy.run(
        "export_onnx", tiny_deploy.seal(source), tmp_path / "onnx", calibration
    ).artifact
    expected = _logits(exported, dev)
    quick = {"target": "tensorrt", "keep_float": "none"}
    for precision in EIGHTS:
        run = tiny_deploy.run(
            "quantize_onnx", exported, tmp_path / precision, calibration, precision=precision, **quick
        )
        typed = tiny_deploy.run("half_precision", run.artifact, tmp_path / f"{precision}16", calibration)
        assert len(run.facts["quantized"]["products"]) == 6 * 6 + 1
        _types(graph.load(typed.artifact.file("model.onnx")))
        for artifact in (run.artifact, typed.artifact):
            logits = _logits(artifact, dev)
            assert np.abs(logits - expected).max() <= 2 * TOLERANCE[precision] * np.abs(expected).max()
            assert (logits.argmax(1) == expected.argmax(1)).mean() >= 0.95
