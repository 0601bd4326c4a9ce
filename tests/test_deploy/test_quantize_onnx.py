"""INT8: which products, which integers, how far the outputs move, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_deploy
from onnx import numpy_helper

from compress.artifacts.artifact import Artifact
from compress.errors import DataError, ParityError, RecipeError, UserError
from deploy import session
from deploy.checking.outputs import collect
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.graph import merge, products, taps, variants
from deploy.graph import nodes as graph
from deploy.opening import runner
from deploy.precision import embeddings, observe, qdq
from deploy.stages import quantize_onnx

ROWS = tiny_deploy.text_rows()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny text classifier as an FP32 graph; weights grown so that outputs are of order one."""
    folder = tmp_path_factory.mktemp("exported")
    return tiny_deploy.run(
        "export_onnx", tiny_deploy.text_artifact(folder / "torch"), folder / "onnx", ROWS
    ).artifact


def _graph(artifact: Artifact) -> onnx.ModelProto:
    return graph.load(artifact.file("model.onnx"))


def _counts(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _logits(artifact: Artifact) -> np.ndarray:
    from compress.tasks import text_classification as task

    encoder = Encoder.open(artifact.path, task)
    with runner(artifact, threads=1) as opened:
        return collect(opened.infer, encoder.batches(ROWS), task, encoder.head).arrays["logits"]


def test_weight_products_are_found_and_attention_products_are_not(exported: Artifact) -> None:
    """Six a layer, the pooler, and the classifier, which alone is the head."""
    weight_products = products.find(_graph(exported))
    assert len(weight_products) == 2 * 6 + 2
    assert [product.name for product in weight_products if product.head] == ["/model/classifier/Gemm"]
    assert _counts(_graph(exported))["MatMul"] == 2 * 6 + 2 * 2  # two computed products a layer
    pooler = next(product for product in weight_products if "pooler" in product.name)
    assert (pooler.op, pooler.transposed, pooler.shape) == ("Gemm", True, (32, 32))


def test_merging_is_exact(exported: Artifact) -> None:
    """Query, key and value become one product and a Split; outputs are equal to the last bit or two."""
    model = _graph(exported)
    groups = merge.merge(model)
    assert [len(group) for group in groups] == [3, 3]
    assert _counts(model)["Split"] == 2
    assert len(products.find(model)) == 2 * 4 + 2
    onnx.checker.check_model(model)
    feed = {
        name: np.array([[2, 5, 9, 3]], dtype=np.int64) if name == "input_ids" else np.ones((1, 4), np.int64)
        for name in ("input_ids", "attention_mask")
    } | {"token_type_ids": np.zeros((1, 4), np.int64)}
    plain = session.infer_with(session.open_session(exported.file("model.onnx"), threads=1))(feed)
    merged = session.infer_with(session.open_session(model.SerializeToString(), threads=1))(feed)
    np.testing.assert_allclose(merged["logits"], plain["logits"], atol=1e-6)


def test_dynamic_int8_moves_outputs_little_and_is_a_quarter(exported: Artifact, tmp_path: Path) -> None:
    """Every product but the head becomes MatMulInteger; the record says how far the outputs moved."""
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS, reduce_range=False)
    model = _graph(run.artifact)
    counts = _counts(model)
    assert counts["MatMulInteger"] == 2 * 4 + 1
    assert counts["DynamicQuantizeLinear"] == 2 * 4 + 1
    assert [product.name for product in products.find(model)] == ["/model/classifier/Gemm"]
    assert run.facts["kept_float"] == {"/model/classifier/Gemm": "the head stays float"}
    assert np.abs(_logits(run.artifact) - _logits(exported)).max() < 0.05
    assert 0 < run.facts["against_float"]["divergence_mean"] < 1e-3
    assert run.facts["against_float"]["agreeing"] >= run.facts["against_float"]["rows"] - 2
    assert run.artifact.manifest.files["model.onnx"].bytes < exported.manifest.files["model.onnx"].bytes
    facts = graph_facts.read(run.artifact)
    assert (facts.precision, facts.target) == ("int8", "cpu")
    assert facts.limits == graph_facts.read(exported).limits


def test_onnxruntime_fuses_what_we_write(exported: Artifact, tmp_path: Path) -> None:
    """The pattern is the one that becomes a single kernel: quantize, multiply, rescale and bias."""
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS)
    options = session.options(1)
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session.onnxruntime().InferenceSession(
        str(run.artifact.file("model.onnx")), options, providers=["CPUExecutionProvider"]
    )
    counts = _counts(onnx.load(str(tmp_path / "optimized.onnx")))
    assert counts["DynamicQuantizeMatMul"] == 2 * 4 + 1
    assert counts["MatMulInteger"] == counts["DynamicQuantizeLinear"] == 0


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_static_pairs_stand_around_weight_products_only(
    target: str, exported: Artifact, tmp_path: Path
) -> None:
    """No Q/DQ on softmax, LayerNorm, GELU or attention's own products; weights symmetric per channel."""
    run = tiny_deploy.run(
        "quantize_onnx",
        exported,
        tmp_path / "int8",
        ROWS,
        mode="static",
        target=target,
        keep_float="none",
        embeddings=False,
        tame=False,
        reduce_range=False,
    )
    model = _graph(run.artifact)
    index = graph.Index(model)
    cpu = target == "cpu"
    inputs = 2 * 4 + 1  # query, key and value share one; merged or not
    weights = inputs if cpu else 2 * 6 + 1
    assert _counts(model)["QuantizeLinear"] == inputs
    assert _counts(model)["DequantizeLinear"] == inputs + weights
    assert graph.opset(model) == (17 if cpu else 19)
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            assert {taker.op_type for taker in index.takers[node.output[0]]} == {"MatMul"}
        if node.op_type == "QuantizeLinear":
            zero = index.array(node.input[2])
            assert zero.dtype == (np.uint8 if cpu else np.int8)
            assert cpu or zero == 0
    plain = graph.Index(_graph(exported))
    original = next(
        product for product in products.find(_graph(exported)) if "layer.1/output" in product.name
    )
    node = next(node for node in model.graph.node if node.name == original.name)
    stored = index.maker[node.input[1]]
    integers, scales, zeros = (index.array(name) for name in stored.input)
    expected = plain.array(original.weight)
    assert integers.dtype == np.int8
    assert not zeros.any()
    np.testing.assert_allclose(scales, np.abs(expected).max(axis=0) / 127, rtol=1e-6 if cpu else 2**-10)
    assert np.abs(integers * scales - expected).max() <= scales.max() / 2 + 1e-7
    assert np.abs(_logits(run.artifact) - _logits(exported)).max() < 0.1


def test_the_same_tensors_as_onnxruntime_configured_by_hand(exported: Artifact, tmp_path: Path) -> None:
    """Its quantizer, held to the weight products, quantizes the same inputs with the same scales."""
    quantization = pytest.importorskip("onnxruntime.quantization")
    model = _graph(exported)
    matmuls = [product for product in products.find(model) if product.op == "MatMul"]
    encoder = Encoder.open(exported.path, tiny_deploy.catalog.load("task", exported.task))
    feeds = [encoder.feed(ROWS[at : at + 1]) for at in range(len(ROWS))]  # alone: nothing is padded

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> Any:
            return next(self.left, None)

    onnx.save(model, str(tmp_path / "in.onnx"))
    quantization.quantize_static(
        str(tmp_path / "in.onnx"),
        str(tmp_path / "out.onnx"),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        nodes_to_quantize=[product.name for product in matmuls],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"], "WeightSymmetric": True},
    )
    run = tiny_deploy.run(
        "quantize_onnx",
        exported,
        tmp_path / "int8",
        ROWS,
        mode="static",
        keep_float=["pooler"],
        embeddings=False,
        merge=False,
        tame=False,
        ranges="minmax",
        reduce_range=False,
    )
    theirs, ours = graph.load(tmp_path / "out.onnx"), _graph(run.artifact)

    def scales(model: onnx.ModelProto) -> dict[str, tuple[float, int]]:
        index = graph.Index(model)
        return {
            node.input[0]: (float(index.array(node.input[1])), int(index.array(node.input[2])))
            for node in model.graph.node
            if node.op_type == "QuantizeLinear" and node.input[0] not in index.constants
        }

    assert scales(ours).keys() == scales(theirs).keys()
    for name, (scale, zero) in scales(theirs).items():
        assert scales(ours)[name] == (pytest.approx(scale, rel=1e-5), zero)


def test_padding_is_no_part_of_a_range(exported: Artifact, tmp_path: Path) -> None:
    """The extremes of padded batches are those of rows that stand alone."""
    model = _graph(exported)
    products.name_nodes(model)
    tensors = [product.input for product in products.find(model)[:7]]
    base = variants.Base(model, tmp_path / "base", 1)
    infer = taps.open_watched(base.model, base.folder, tensors, 1)
    encoder = Encoder.open(exported.path, tiny_deploy.catalog.load("task", exported.task))
    mixed = [encoder.batch(ROWS[at : at + 12]) for at in range(0, len(ROWS), 12)]
    alone = [encoder.batch([row]) for row in ROWS]
    assert any((batch.inputs["attention_mask"] == 0).any() for batch in mixed)
    together = observe.extremes(infer, mixed, tensors, "t")
    apart = observe.extremes(infer, alone, tensors, "t")
    for name in tensors:
        assert together[name].low == pytest.approx(apart[name].low, abs=1e-5)
        assert together[name].high == pytest.approx(apart[name].high, abs=1e-5)
        assert together[name].count == apart[name].count
    counted = observe.histograms(infer, mixed, tensors, "t")
    assert all(counted[name].counts.sum() == together[name].count for name in tensors)
    squares = observe.second_moments(infer, mixed, tensors, "t")
    for name, single in observe.second_moments(infer, alone, tensors, "t").items():
        np.testing.assert_allclose(squares[name], single, rtol=1e-4, atol=1e-3 * np.abs(single).max())
        np.testing.assert_array_equal(squares[name], squares[name].T)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_every_kind_of_range_gives_a_graph_that_works(
    method: str, exported: Artifact, tmp_path: Path
) -> None:
    """Outputs stay near; a percentile is never wider than the extremes."""
    run = tiny_deploy.run(
        "quantize_onnx", exported, tmp_path / "int8", ROWS, mode="static", ranges=method, keep_float="none"
    )
    assert run.facts["against_float"]["divergence_mean"] < 0.02
    assert np.abs(_logits(run.artifact) - _logits(exported)).max() < 0.6


def test_embeddings_have_a_scale_a_row(exported: Artifact) -> None:
    """Rows come back within half of their own step, whatever the largest row of the table is."""
    model = _graph(exported)
    index = graph.Index(model)
    node = embeddings.tables(model, smallest=1)[0]
    table = index.array(node.input[0]).copy()
    table[7] *= 100
    for tensor in model.graph.initializer:
        if tensor.name == node.input[0]:
            tensor.CopyFrom(numpy_helper.from_array(table, tensor.name))
    names = embeddings.quantize(model, smallest=1)
    assert "/model/bert/embeddings/word_embeddings/Gather" in names
    index = graph.Index(model)
    integers, scales = index.array(f"{node.input[0]}_q"), index.array(f"{node.input[0]}_q_scale")
    assert (integers.dtype, scales.shape) == (np.int8, (table.shape[0], 1))
    assert (np.abs(integers * scales - table) <= scales / 2 + 1e-7).all()
    assert node.input[0] not in index.constants
    onnx.checker.check_model(model)


def test_small_tables_stay(exported: Artifact, tmp_path: Path) -> None:
    """A table of a few kilobytes is not worth two nodes."""
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS)
    assert run.facts["quantized"]["tables"] == []


def _planted(tmp_path: Path) -> Artifact:
    """A graph in which one neuron is huge for every row; nobody listens to it."""
    import torch

    from compress.model import checkpoint
    from compress.tasks import text_classification

    source = tiny_deploy.text_artifact(tmp_path / "plain")
    model = checkpoint.load(source.path, text_classification)
    with torch.no_grad():
        dense = model.bert.encoder.layer[1].output.dense
        dense.weight *= 8.0
        model.bert.encoder.layer[1].intermediate.dense.bias[0] = 500.0
        dense.weight[:, 0] = 0.0
    folder = tmp_path / "planted"
    folder.mkdir()
    checkpoint.save(model, folder, source=source.path)
    return tiny_deploy.run("export_onnx", tiny_deploy.seal(folder), tmp_path / "onnx", ROWS).artifact


def test_what_costs_most_is_left_out_and_named(tmp_path: Path) -> None:
    """A planted outlier makes one product the most sensitive; auto leaves out exactly that one."""
    exported = _planted(tmp_path)
    options: dict[str, Any] = {"mode": "static", "ranges": "minmax", "tame": False}
    worst = "/model/bert/encoder/layer.1/output/dense/MatMul"
    none = tiny_deploy.run("quantize_onnx", exported, tmp_path / "all", ROWS, keep_float="none", **options)
    goal = none.facts["against_float"]["divergence_mean"] / 20
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "auto", ROWS, divergence=goal, **options)
    measured = run.facts["sensitivity"]
    assert next(iter(measured["alone"])) == worst
    assert measured["reached"]
    assert measured["curve"][0] == pytest.approx(none.facts["against_float"]["divergence_mean"], rel=0.05)
    assert set(run.facts["kept_float"]) == {"/model/classifier/Gemm", worst}
    assert "alone it moves the outputs by" in run.facts["kept_float"][worst]
    assert worst not in run.facts["quantized"]["products"]
    assert worst in {product.name for product in products.find(_graph(run.artifact))}
    assert run.facts["against_float"]["divergence_mean"] <= goal * 1.05


def test_outlier_channels_are_scaled_down_where_it_helps(tmp_path: Path) -> None:
    """The planted neuron costs nothing any more: no product stays float, and the record shows why."""
    exported = _planted(tmp_path)
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "auto", ROWS, mode="static", ranges="minmax")
    tamed = run.facts["tamed"]
    assert tamed["used"]
    assert tamed["divergence_with"] < tamed["divergence_without"] / 20
    assert max(tamed["gains"].values()) > 20
    assert set(run.facts["kept_float"]) == {"/model/classifier/Gemm"}
    assert run.facts["against_float"]["divergence_mean"] < 0.001
    without = tiny_deploy.run("quantize_onnx", exported, tmp_path / "no", ROWS, tame=False)
    assert without.facts["tamed"] is None


def test_named_products_stay_float(exported: Artifact, tmp_path: Path) -> None:
    """Parts of names and wildcards both name products; a pattern that names none is refused."""
    run = tiny_deploy.run(
        "quantize_onnx", exported, tmp_path / "int8", ROWS, keep_float=["pooler", "*layer.0*dense*"]
    )
    names = [name for name, reason in run.facts["kept_float"].items() if reason == "named in keep_float"]
    assert len(names) == 1 + 3
    with pytest.raises(
        UserError, match=r"no weight product's or convolution's name has 'poller' in it\. There are: .*pooler"
    ):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "no", ROWS, keep_float=["poller"])
    message = r"nothing is left to quantize.*\(named in keep_float\)\. Let keep_float name fewer"
    with pytest.raises(UserError, match=message):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "none", ROWS, keep_float=["model"])


@pytest.mark.parametrize(
    "options",
    [
        {"reduce_range": True},
        {"reduce_range": False},
        {"mode": "static", "keep_float": "none"},
        {"target": "tensorrt", "keep_float": "none"},
        {"target": "tensorrt", "precision": "fp8", "keep_float": "none"},
    ],
)
def test_roundings_make_up_for_each_other_in_every_style(
    options: dict[str, Any], exported: Artifact, tmp_path: Path
) -> None:
    """The same scales, other values, and nothing else changes but the products' weights; twice the same."""
    options = {"tame": False, **options}
    plain, gptq, again = (
        tiny_deploy.run("quantize_onnx", exported, tmp_path / name, ROWS, rounding=rounding, **options)
        for name, rounding in (("nearest", "nearest"), ("gptq", "gptq"), ("again", "gptq"))
    )
    assert (plain.facts["weights"]["rounding"], gptq.facts["weights"]["rounding"]) == ("nearest", "gptq")
    before, after = (graph.Index(_graph(run.artifact)) for run in (plain, gptq))
    assert set(before.constants) == set(after.constants)
    changed = {name for name in before.constants if not np.array_equal(before.array(name), after.array(name))}
    assert changed == {name for name in before.constants if name.endswith("_q")}
    assert gptq.facts["against_float"]["divergence_mean"] < 0.01
    assert gptq.artifact.manifest.files["model.onnx"] == again.artifact.manifest.files["model.onnx"]


def test_processors_that_saturate_get_seven_bits(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x86 without VNNI adds pairs in 16 bits; others do not."""
    assert quantize_onnx.saturates(frozenset({"avx2", "fma"}), "x86_64")
    assert not quantize_onnx.saturates(frozenset({"avx2", "avx512_vnni"}), "x86_64")
    assert not quantize_onnx.saturates(frozenset({"avx_vnni"}), "AMD64")
    assert not quantize_onnx.saturates(frozenset({"asimd"}), "aarch64")
    monkeypatch.setattr(quantize_onnx, "saturates", lambda *_: True)
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS)
    assert run.facts["weights"]["largest"] == 64
    assert run.facts["weights"]["rounding"] == "gptq"
    index = graph.Index(_graph(run.artifact))
    stored = [name for name, tensor in index.constants.items() if tensor.data_type == onnx.TensorProto.INT8]
    assert max(int(np.abs(index.array(name).astype(int)).max(initial=0)) for name in stored) == 64


def test_mistakes_are_refused(exported: Artifact, tmp_path: Path) -> None:
    """TensorRT wants static ranges; INT8 is made of FP32; calibration needs rows; keys are checked."""
    with pytest.raises(RecipeError, match="target tensorrt takes static ranges"):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "a", ROWS, target="tensorrt", mode="dynamic")
    with pytest.raises(RecipeError, match="unknown key 'modes'"):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "b", ROWS, modes="static")
    with pytest.raises(DataError, match="needs at least 8 training rows and found 3"):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "c", ROWS[:3])
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "d", ROWS)
    with pytest.raises(UserError, match="is int8 already"):
        tiny_deploy.run("quantize_onnx", run.artifact, tmp_path / "e", ROWS)


def test_numbers_that_are_not_finite_fail_the_stage(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken scale never leaves the stage."""
    real = qdq.quantize

    def spoiled(model: Any, names: Any, spans: Any, **options: Any) -> None:
        real(model, names, spans, **options)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("_scale") and not tensor.dims:
                tensor.CopyFrom(numpy_helper.from_array(np.array(np.nan, np.float32), tensor.name))

    monkeypatch.setattr(qdq, "quantize", spoiled)
    with pytest.raises(ParityError, match="not finite on calibration rows"):
        tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS, mode="static", keep_float="none")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25])
def test_inputs_that_have_no_squares_are_named(value: float, exported: Artifact) -> None:
    """GPTQ says which tensor it is and what to give instead; the rows before it were in order."""
    encoder = Encoder.open(exported.path, tiny_deploy.catalog.load("task", exported.task))
    batches = [encoder.batch(ROWS[:4]), encoder.batch(ROWS[4:8])]
    values = iter([np.ones((4, 2), np.float32), np.full((4, 2), value, np.float32)])
    with np.errstate(all="ignore"), pytest.raises(UserError, match="'inner' has values on cal"):
        observe.second_moments(lambda _: {"inner": next(values)}, batches, ["inner"], "t")


def test_the_same_input_gives_the_same_bytes(exported: Artifact, tmp_path: Path) -> None:
    """Both modes are deterministic."""
    for mode in ("dynamic", "static"):
        ids = {
            tiny_deploy.run("quantize_onnx", exported, tmp_path / f"{mode}-{i}", ROWS, mode=mode).artifact.id
            for i in range(2)
        }
        assert len(ids) == 1


def _with_outliers(folder: Path) -> Artifact:
    """The tiny classifier with two channels that are far larger than all others wherever products read.

    The next weights are small there, as trained models have it (onnxruntime issue 9599).
    """
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    tiny_deploy.tiny.text_model(folder)
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    rows = AutoTokenizer.from_pretrained(folder)(
        [row["text"] for row in ROWS], padding=True, return_tensors="pt"
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for name, tensor in model.named_parameters():
            if "LayerNorm.weight" in name:
                tensor[5] *= 12
                tensor[11] *= 8
            elif tensor.ndim == 2 and "classifier" not in name:
                tensor += (1.0 if "embeddings" in name else 0.15) * torch.randn_like(tensor)
                if "embeddings" not in name and tensor.shape[1] == 32:
                    tensor[:, 5] /= 12
                    tensor[:, 11] /= 8
        logits = model(**rows).logits  # spread evenly over both classes
        model.classifier.weight *= 1.5 / logits.std(0)[:, None]
        model.classifier.bias *= 0
        model.classifier.bias -= model(**rows).logits.mean(0)
    model.save_pretrained(folder)
    (folder / "encoding.json").write_text('{"max_length": 32}')
    return tiny_deploy.seal(folder)


@pytest.fixture(scope="module")
def outlying(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same as an FP32 graph."""
    folder = tmp_path_factory.mktemp("outlying")
    torch_form = _with_outliers(folder / "torch")
    return tiny_deploy.run("export_onnx", torch_form, folder / "onnx", ROWS, tolerance=0.01).artifact


UNTAMED: dict[str, Any] = {"tame": False, "reduce_range": False}


def test_without_a_mode_the_simplest_that_holds_is_taken(exported: Artifact, tmp_path: Path) -> None:
    """Dynamic comes first, gives the bytes of the explicit mode, and ends the search where it holds."""
    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "auto", ROWS, divergence=0.1)
    named = tiny_deploy.run("quantize_onnx", exported, tmp_path / "named", ROWS, mode="dynamic")
    assert run.facts["taken"] == "mode: dynamic"
    assert [trial["options"] for trial in run.facts["tried"]] == ["mode: dynamic"]
    assert run.artifact.id == named.artifact.id


def test_without_a_mode_what_does_not_hold_is_followed_by_the_next(
    outlying: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Outlier channels: dynamic is measured and not taken; every try is recorded with its figures."""
    run = tiny_deploy.run(
        "quantize_onnx", outlying, tmp_path / "auto", ROWS, divergence=1e-9, most_float=1, **UNTAMED
    )
    tried = {trial["options"]: trial for trial in run.facts["tried"]}
    assert list(tried) == ["mode: dynamic", "mode: static", "mode: dynamic, keep_float: auto"]
    least = min(tried, key=lambda name: tried[name]["divergence"])
    assert run.facts["taken"] == least != "mode: dynamic"
    assert tried["mode: dynamic"]["divergence"] > tried[least]["divergence"]


def test_too_little_agreement_is_said_and_strict_refuses(
    outlying: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explicit mode stays what it is; the warning says the share, the limit and what would help."""
    warned: list[str] = []
    monkeypatch.setattr("compress.log.warning", lambda text, *args: warned.append(text % args))
    options = {"mode": "dynamic", "agreement": 1.0, "divergence": 1e-9, **UNTAMED}
    run = tiny_deploy.run("quantize_onnx", outlying, tmp_path / "loose", ROWS, **options)
    figures = run.facts["against_float"]
    assert min(figures["agreeing"], figures["agreeing_alone"]) < figures["rows"]
    (warning,) = [line for line in warned if "below the 100.00 % that agreement asks for" in line]
    for remedy in (
        "mode: static",
        "keep_float: auto",
        "tame: auto",
        "rounding: gptq",
        "more calibration rows",
    ):
        assert remedy in warning
    with pytest.raises(ParityError, match=r"below the 100\.00 % that.*Nothing was sealed \(strict\)"):
        tiny_deploy.run("quantize_onnx", outlying, tmp_path / "strict", ROWS, strict=True, **options)


def test_scales_by_token_do_not_depend_on_the_batch(outlying: Artifact, tmp_path: Path) -> None:
    """One range for a batch moves answers with the rows beside them, one for each token does not.

    onnxruntime issue 10111: 3 of 48 labels changed between batch 1 and 16.
    """
    runs = {
        scales: tiny_deploy.run(
            "quantize_onnx",
            outlying,
            tmp_path / scales,
            ROWS,
            mode="dynamic",
            activation_scales=scales,
            **UNTAMED,
        )
        for scales in ("tensor", "token")
    }
    assert runs["tensor"].facts["batch"]["largest"] > 1e-3
    assert runs["token"].facts["batch"]["largest"] < 1e-6
    assert runs["token"].facts["batch"]["differ"] == 0
    assert _counts(_graph(runs["token"].artifact))["MatMulInteger"] == 2 * 4 + 1


def test_scales_by_token_are_what_they_are_said_to_be(exported: Artifact, tmp_path: Path) -> None:
    """Against the same arithmetic by hand: the first product of the graph, and a vector of zeros."""
    from onnx import TensorProto, helper

    from deploy.precision import dynamic
    from deploy.precision.eight_bits import EightBits
    from deploy.precision.weights import Weights

    generator = np.random.default_rng(0)
    weight = generator.normal(size=(8, 5)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", n])
        for name, n in (("x", 8), ("y", 5))
    ]
    for version in (17, 19):
        model = helper.make_model(
            helper.make_graph(
                [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
                "g",
                ends[:1],
                ends[1:],
                [numpy_helper.from_array(weight, "w")],
            ),
            opset_imports=[helper.make_opsetid("", version)],
            ir_version=9,
        )
        numbers = EightBits("u8")
        weights = Weights(products.find(model), graph.Index(model), numbers)
        dynamic.quantize(model, {"product"}, weights, "token")
        onnx.checker.check_model(model)
        x = (generator.normal(size=(3, 4, 8)) * 10.0 ** generator.integers(-3, 4, (3, 4, 1))).astype(
            np.float32
        )
        x[1, 2] = 0
        outputs = session.infer_with(session.open_session(model.SerializeToString(), threads=1))({"x": x})[
            "y"
        ]
        integers, scales, _ = numbers.weight(weight)
        steps = np.maximum(np.abs(x).max(-1, keepdims=True), 1e-30) / 127
        expected = np.rint(x / steps).astype(np.int32) @ integers.astype(np.int32) * steps * scales
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-30)
        assert np.abs(outputs / np.where(steps == 0, 1, steps) - x @ weight / steps).max() < 127


def test_an_ended_run_goes_on_with_what_it_finished(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that was whole when the run was ended is taken as it is, and gives the same bytes."""
    from deploy.precision import trials

    first = tiny_deploy.run("quantize_onnx", exported, tmp_path / "first", ROWS, mode="dynamic")
    trial = trials.read(tmp_path / "first-scratch" / "trial-1")
    assert trial is not None
    monkeypatch.setattr(trials, "read", lambda folder: trial)
    monkeypatch.setattr(quantize_onnx, "_load", lambda *arguments: pytest.fail("made again"))
    again = tiny_deploy.run("quantize_onnx", exported, tmp_path / "again", ROWS, mode="dynamic")
    assert again.artifact.id == first.artifact.id
    assert again.facts == first.facts


def test_what_stays_float_is_counted_by_its_cost(exported: Artifact, tmp_path: Path) -> None:
    """Kept products are named with the reason, and a graph that mostly stays float is warned of."""
    run = tiny_deploy.run(
        "quantize_onnx",
        exported,
        tmp_path / "int8",
        ROWS,
        mode="dynamic",
        keep_float=["intermediate", "output"],
    )
    covered = run.facts["coverage"]
    assert covered["eight_bit"] == covered["products"] - len(covered["float_products"])
    assert covered["products"] == 2 * 6 + 2
    assert covered["macs_share"] < 0.5
    assert covered["float_products"]["/model/classifier/Gemm"] == "the head stays float"
    assert "named in keep_float" in covered["float_products"].values()


def test_the_card_says_what_depends_on_the_batch(exported: Artifact, tmp_path: Path) -> None:
    """Figures of calibration rows stand among the limits; where nothing depends on it, nothing is said."""
    from compress.label_names import LabelNames
    from compress.model.limit import Limit
    from compress.tasks import Head
    from deploy.handover.card import Subject, card

    run = tiny_deploy.run("quantize_onnx", exported, tmp_path / "int8", ROWS, mode="dynamic")
    cards = {}
    for ranges in ("tensor", "token"):
        facts = {**run.facts, "batch": {**run.facts["batch"], "ranges": ranges}}
        manifest = run.artifact.manifest.model_copy(update={"facts": facts})
        artifact = replace(run.artifact, manifest=manifest)
        head = Head("single_label", ("negative", "positive"))
        cards[ranges] = card(
            Subject("int8", artifact, head, "int8", Limit(32, "model"), LabelNames(), True, True, None, False)
        )
    assert "13 of 14 weight products are in eight bits" in cards["token"]
    assert "batch 1 against batch 16" in cards["tensor"]
    assert "activation_scales: token" in cards["tensor"]
    assert "share a batch" not in cards["token"]
