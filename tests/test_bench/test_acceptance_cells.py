"""The cells for real, on a CPU and a tiny plan: torch, ONNX Runtime and artifacts."""

from __future__ import annotations

import json
import shutil
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny
import torch

from compress.errors import ArtifactError, UserError
from studies.gpu import agreement, artifacts, backends, cells, kernels, packing, plan, steps, variants, worker
from studies.gpu.around import Around, Skip
from studies.gpu.plan import TINY, Shape, Sizes
from studies.gpu.prepare import prepare

ONE = plan.replace(TINY, models={"deep": TINY.models["deep"]}, shallow="none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts of a tiny trained model, and of one tiny shape, made by the command's own code."""
    home = tmp_path_factory.mktemp("prepared")
    tiny.text_model(home / "model")
    tiny.text_data(home / "data")
    prepare(home / "model", home / "data", home / "artifacts", ONE, lambda line: None)
    return home / "artifacts"


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAREDOWN_ACCEPTANCE_SCRATCH", str(tmp_path / "scratch"))


def around(folder: Path | None = None) -> Around:
    """A CPU with or without artifacts."""
    return Around(TINY, "cpu", folder, artifacts.read(folder) if folder else {})


def ask(model: str = "deep", backend: str = "sdpa", precision: str = "fp32") -> dict[str, Any]:
    """Parameters of a cell."""
    return {"model": model, "backend": backend, "precision": precision, "shapes": [[1, 8], [2, 8]]}


@pytest.mark.parametrize(
    ("backend", "precision"), [("eager", "fp32"), ("sdpa", "fp16"), ("compiled", "fp32")]
)
def test_torch_shapes_are_measured(backend: str, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shape has a time by the CPU's clock, end to end and a rate; no GPU time is claimed."""
    # Inductor compiles for half a minute; Dynamo alone shows that the path works.
    monkeypatch.setattr(torch, "compile", partial(_compile, torch.compile))
    found = cells.shapes(ask(backend=backend, precision=precision), around())
    assert [(one["batch"], one["length"]) for one in found["figures"]] == [(1, 8), (2, 8)]
    for one in found["figures"]:
        assert "gpu_ms" not in one
        assert one["cpu_ms"]["n"] >= 5
        assert one["e2e_ms"]["p50"] > 0
        assert one["rows_per_s"]["n"] == 5
        assert one["cuda_graph"] is False
    sizes = TINY.models["deep"]
    parameters = found["memory"]["by_shape"]["1x8"]["weights_bytes"] / (4 if precision == "fp32" else 2)
    per_layer = 4 * (32 * 32 + 32) + 2 * 32 * 64 + 64 + 32 + 4 * 32
    embeddings = (sizes.vocabulary + sizes.positions + 2) * 32 + 2 * 32
    assert parameters == 2 * per_layer + embeddings + 32 * 32 + 32 + 2 * 32 + 2


def _compile(real: Any, model: Any, mode: str, dynamic: bool) -> Any:
    return real(model, backend="eager", dynamic=dynamic)


def test_one_shape_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reason is in the result; where every shape fails, the cell has failed."""
    opened = backends.load("sdpa").Opened
    real = opened.session

    def session(self: Any, shape: Shape, feeds: Any, graph: bool) -> Any:
        if shape.batch >= least:
            raise RuntimeError("out of memory")
        return real(self, shape, feeds, graph)

    monkeypatch.setattr(opened, "session", session)
    least = 2
    found = cells.shapes(ask(), around())
    assert [one["batch"] for one in found["figures"]] == [1]
    (failure,) = found["failures"]
    assert failure["reason"] == "RuntimeError: out of memory"
    assert (failure["batch"], failure["length"], failure["cuda_graph"]) == (2, 8, False)
    least = 1
    with pytest.raises(UserError, match="no shape could be measured; the first one: RuntimeError: out of"):
        cells.shapes(ask(), around())


def test_a_session_that_failed_is_gone_before_the_next_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while measuring closes the session, and nothing keeps it: the next shape needs its memory."""
    opened = backends.load("sdpa").Opened
    real, before = opened.session, []

    def session(self: Any, shape: Shape, feeds: Any, graph: bool) -> Any:
        assert not [one for one in before if one() is not None]
        made = real(self, shape, feeds, graph)
        before.append(weakref.ref(made))
        if shape.batch == 1:
            made.enqueue = fail
        return made

    def fail() -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(opened, "session", session)
    found = cells.shapes(ask(), around())
    assert [one["batch"] for one in found["figures"]] == [2]
    assert [one["batch"] for one in found["failures"]] == [1]
    assert len(before) == 2


@pytest.mark.parametrize("backend", ["sdpa", "ort"])
def test_a_closed_session_holds_no_buffers(folder: Path, backend: str) -> None:
    """Twice does no harm."""
    opened = backends.load(backend).Opened(around(folder).subject("deep"), "fp32", "cpu")
    session = opened.session(Shape(1, 8), backends.feeds(Shape(1, 8), 64), False)
    session.enqueue()
    session.fetch()
    held = weakref.ref(session.on_device["input_ids"])
    session.close()
    session.close()
    assert held() is None
    assert session.result is None


def test_the_torch_backends_agree() -> None:
    """Eager and SDPA with the same seed give the same logits, with and without a mask."""
    for shape in (Shape(1, 8), Shape(3, 8)):
        feeds = backends.feeds(shape, 64)
        found = []
        for name in ("eager", "sdpa"):
            opened = backends.load(name).Opened(around().subject("deep"), "fp32", "cpu")
            session = opened.session(shape, feeds, False)
            session.load(1)
            session.enqueue()
            session.fetch()
            session.synchronize()
            found.append(session.outputs().copy())
        np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_onnxruntime_runs_the_prepared_shapes(folder: Path) -> None:
    """FP32 and FP16 graphs with drawn weights run through IO binding, and their files are counted."""
    for precision in ("fp32", "fp16"):
        found = cells.shapes(ask(backend="ort", precision=precision), around(folder))
        assert found["facts"]["providers"] == ["CPUExecutionProvider"]
        assert all(one["cpu_ms"]["p50"] > 0 for one in found["figures"])
        memory = found["memory"]["by_shape"]["1x8"]
        assert memory["file_bytes"] > memory["weights_bytes"] > 0


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_accuracy_and_agreement_of_the_prepared_artifact(folder: Path, precision: str) -> None:
    """All rows are scored, padding does not matter, and the result is near the FP32 reference."""
    found = cells.accuracy(ask("sst2", "ort", precision), around(folder))
    compared = found["comparison"]
    rows = artifacts.rows(folder)
    assert compared["rows"] == len(rows["labels"]) == 60
    assert compared["finite"]
    assert compared["max_abs_difference"] < 0.02
    assert found["device"] == "cpu"
    assert sum(found["buckets"].values()) == 60
    right = (rows["reference"].argmax(1) == rows["labels"]).mean()
    assert compared["accuracy"] - compared["difference"] == pytest.approx(right)


def test_both_spellings_of_int8_compute_the_same(folder: Path) -> None:
    """The graph for TensorRT 8.6 (FP32 weights before their Q) gives what the typed one gives."""
    import onnxruntime

    manifest = artifacts.read(folder)
    rows = artifacts.rows(folder)
    feed = {
        name: rows[name][:8].astype(np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    found = []
    for typing in ("weak", "typed"):
        path = artifacts.unpacked(manifest, folder, "sst2", "int8", typing)
        model = onnx.load(str(path))
        assert {entry.version for entry in model.opset_import if not entry.domain} == {
            17 if typing == "weak" else 19
        }
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        wanted = {one.name for one in session.get_inputs()}
        found.append(session.run(None, {n: a for n, a in feed.items() if n in wanted})[0].astype(np.float32))
    np.testing.assert_allclose(found[0], found[1], atol=5e-3)


def test_weak_weights_give_their_integers_back() -> None:
    """``integers * scale`` through QuantizeLinear are the integers, at both ends of the range as well."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    integers = np.array([[-127, 3, 127], [5, -1, 0]], np.int8)
    scale = np.array([0.013, 0.7, 1e-4], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], "dq", axis=1),
        helper.make_node("MatMul", ["x", "wf"], ["y"], "product"),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
            [
                numpy_helper.from_array(integers, "w"),
                numpy_helper.from_array(scale, "s"),
                numpy_helper.from_array(np.zeros(3, np.int8), "z"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 19)],
        ir_version=9,
    )
    x = np.array([[1.0, 2.0], [-3.0, 0.5]], np.float32)
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    weights = packing.weaken(model)
    assert [node.op_type for node in model.graph.node] == ["QuantizeLinear", "DequantizeLinear", "MatMul"]
    assert model.opset_import[0].version == 17
    after = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(before, after)
    ((_, (kept, _, axis)),) = weights.items()
    np.testing.assert_array_equal(kept, integers)
    assert axis == 1


def test_weights_come_out_as_they_were_prepared(folder: Path) -> None:
    """The unpacked file is checked by its sha256, written once, and mended when it was changed."""
    manifest = artifacts.read(folder)
    path = artifacts.unpacked(manifest, folder, "sst2", "fp16", "typed")
    weights = path.with_name(artifacts.WEIGHTS)
    wanted = manifest["graphs"]["sst2-fp16"]["weights"]
    assert artifacts.sha256(weights) == wanted["sha256"]
    weights.write_bytes(b"\0" * wanted["bytes"])
    artifacts.unpacked(manifest, folder, "sst2", "fp16", "typed")
    assert artifacts.sha256(weights) == wanted["sha256"]


def test_tensors_are_stored_once_for_all_graphs(folder: Path) -> None:
    """The FP16 store serves the FP32, FP16 and INT8 graphs: it is far smaller than their weights together."""
    manifest = artifacts.read(folder)
    with np.load(folder / artifacts.TENSORS, allow_pickle=False) as stored:
        held = sum(stored[name].nbytes for name in stored.files)
    together = sum(one["weights"]["bytes"] for one in manifest["graphs"].values() if one["model"] == "sst2")
    assert held < together / 2


@pytest.mark.parametrize("name", [artifacts.ROWS, artifacts.TENSORS, "graphs/sst2-fp16.onnx"])
def test_a_changed_or_missing_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """One byte more, or no file: the sentence names it, and nothing of it is opened."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with (copy / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=Path(name).name):
        artifacts.read(copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        artifacts.read(copy)


def test_a_manifest_cannot_point_outside(folder: Path, tmp_path: Path) -> None:
    """Nor can another schema, or a folder without one, pass."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / artifacts.MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "files": {"../x": {"sha256": "", "bytes": 0}}}))
    with pytest.raises(ArtifactError, match="outside of the folder"):
        artifacts.read(copy)
    path.write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(ArtifactError, match="prepare it again"):
        artifacts.read(copy)
    path.unlink()
    with pytest.raises(ArtifactError, match="--prepare"):
        artifacts.read(copy)


def test_prepare_does_not_write_over_anything(folder: Path) -> None:
    """A folder that holds something is refused."""
    with pytest.raises(UserError, match="is not empty"):
        prepare(folder, folder, folder, ONE, lambda line: None)


def test_what_is_not_there_is_skipped_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """No artifacts, no TensorRT, no GPU kernels for INT8, no such device: each says so."""
    with pytest.raises(Skip, match="no artifacts were given"):
        cells.shapes(ask(backend="ort", precision="fp16"), around())
    with pytest.raises(Skip, match="runs on a GPU only"):
        cells.shapes(ask(backend="trt", precision="fp16"), around())
    with pytest.raises(Skip, match="evaluation rows"):
        cells.accuracy(ask("sst2", "ort", "fp16"), around())
    assert "no INT8 kernels" in backends.load("ort").missing("cuda", "int8")
    assert "has no CUDAExecutionProvider" in backends.load("ort").missing("cuda", "fp16")
    assert "sees no CUDA device" in backends.load("sdpa").missing("cuda", "fp16")
    assert "torch has no INT8" in backends.load("eager").missing("cpu", "int8")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "tensorrt cannot be imported" in backends.load("trt").missing("cuda", "fp16")


def test_kernels_are_counted(folder: Path) -> None:
    """Torch's operators stand for kernels on a CPU; ONNX Runtime tells its nodes by provider."""
    found = cells.kernel_counts(ask(), around())["shapes"]["1x8"]
    assert found["kernels"] > 10
    assert found["kernels_a_layer"] == found["kernels"] / 2
    assert found["busy_ms"] > 0
    assert len(found["top"]) == 8
    nodes = cells.kernel_counts(ask(backend="ort", precision="fp16"), around(folder))["shapes"]["2x8"]
    assert list(nodes["onnxruntime"]["by_provider"]) == ["CPUExecutionProvider"]
    assert nodes["onnxruntime"]["by_operator"]["MatMul"] >= 12


def test_a_digest_of_known_kernels() -> None:
    """Copies are apart, shares are of the time in kernels, fused attention is found by its names."""
    found = kernels.digest([("gemm", 20, 6.0), ("fmha_cutlassF", 10, 2.0), ("Memcpy HtoD", 10, 9.0)], runs=10)
    assert (found["kernels"], found["copies"], found["busy_ms"]) == (3.0, 1.0, 0.8)
    assert found["fused_attention"] == 1.0
    assert found["top"][0] == {"name": "gemm", "a_run": 2.0, "share": 0.75}


def test_depth_and_width_steps_are_measured() -> None:
    """Points for each depth and width, and a line through the depths at each shape."""
    params = {"model": "deep", "shapes": [[1, 8]]}
    deep = steps.depth(params, around())
    assert [one["layers"] for one in deep["points"]] == [1, 2]
    line = deep["lines"]["1x8"]
    assert line["slope"] + line["intercept"] == pytest.approx(deep["points"][0]["p50"])
    wide = steps.widths(params, around())
    assert {(one["heads"], one["ffn"]) for one in wide["points"]} == {
        (width.heads, width.ffn) for width in variants.widths(TINY.models["deep"], TINY)
    }


def test_width_steps_of_minilm() -> None:
    """Parts of heads and FFN, alone and together, and 64, 96 and 128 steps around half the FFN."""
    found = variants.widths(Sizes(6, 384, 12, 1536), plan.FULL)
    assert [width.heads for width in found if width.ffn == 1536] == [12, 9, 6, 3]
    assert [width.ffn for width in found if width.heads == 12][:4] == [1536, 1152, 768, 384]
    assert plan.around_half(Sizes(6, 384, 12, 1536), (64, 96, 128)) == [640, 672, 704, 768, 832, 864, 896]


def test_narrowed_models_have_the_asked_widths_and_run() -> None:
    """Heads keep their size: 3 of 4 heads of 8 make an attention 24 wide."""
    opened = backends.load("sdpa").Opened(around().subject("deep"), "fp32", "cpu")
    variants.narrow(opened.model, variants.Width(heads=3, ffn=40))
    layer = opened.model.bert.encoder.layer[1]
    assert tuple(layer.attention.self.query.weight.shape) == (24, 32)
    assert tuple(layer.attention.output.dense.weight.shape) == (32, 24)
    assert tuple(layer.intermediate.dense.weight.shape) == (40, 32)
    session = opened.session(Shape(2, 8), backends.feeds(Shape(2, 8), 64), False)
    session.enqueue()
    assert session.result is not None
    assert torch.isfinite(session.result).all()


def test_comparison_of_known_logits() -> None:
    """Accuracy, difference, agreement and cosine of four rows, by hand."""
    reference = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 3.0]], np.float32)
    found = reference.copy()
    found[2] = [0.0, 1.0]
    made = agreement.compare(found, np.array([0, 1, 0, 0]), reference)
    assert (made["accuracy"], made["difference"], made["agreement"], made["flips"]) == (0.5, -0.25, 0.75, 1)
    assert made["max_abs_difference"] == 1.0
    assert made["cosine"] == pytest.approx(0.75)
    low, high = made["difference_interval"]
    assert low < -0.25 < high <= 0
    found[0] = np.nan
    assert agreement.compare(found, np.array([0, 1, 0, 0]), reference)["finite"] is False


def test_rows_find_their_bucket_and_batches_are_whole() -> None:
    """Each row is in the smallest bucket that holds it; the last batch repeats its last row."""
    found = agreement.bucketed(np.array([3, 16, 17, 40]), (16, 32, 64))
    assert {size: list(rows) for size, rows in found.items()} == {16: [0, 1], 32: [2], 64: [3]}
    assert [list(one) for one in agreement.batches(np.array([4, 5, 6]), 2)] == [[4, 5], [6, 6]]
    with pytest.raises(ValueError, match="largest bucket is 64"):
        agreement.bucketed(np.array([65]), (16, 64))


def test_a_line_through_known_points() -> None:
    """Slope and intercept; one point makes no line."""
    made = agreement.line(np.array([1, 3, 6]), np.array([3.0, 7.0, 13.0]))
    assert made["slope"] == pytest.approx(2)
    assert made["intercept"] == pytest.approx(1)
    with pytest.raises(ValueError, match="two different points"):
        agreement.line(np.array([1, 1]), np.array([1.0, 2.0]))


def test_a_worker_answers_skips_and_failures_without_dying() -> None:
    """A skip keeps its reason; an accident becomes one line with its type."""
    request = {
        "plan": "tiny",
        "device": "cpu",
        "artifacts": None,
        "kind": "shapes",
        "params": ask(backend="ort"),
    }
    assert worker.answer(request)["status"] == "skipped"
    broken = {**request, "params": {**ask(), "model": "none"}}
    told = worker.answer(broken)
    assert told["status"] == "failed"
    assert told["reason"].startswith(("KeyError", "ValueError"))
    missing = {**request, "artifacts": "/nowhere"}
    assert "--prepare" in worker.answer(missing)["reason"]
