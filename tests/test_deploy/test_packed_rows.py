"""Rows in blocks of 32: what is stored, that ONNX Runtime reads it to the bit, and where it goes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_deploy
from onnx import TensorProto, helper, numpy_helper

from bench.probes import _graph_costs, execution
from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError, RecipeError, UserError
from deploy import content, session
from deploy.checking import structure
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.graph import runtime_versions
from deploy.handover.bundle import bundle
from deploy.handover.sums import verify
from deploy.opening import runner
from deploy.precision import embeddings, packed_rows
from deploy.runtimes import _profile
from deploy.stages import half_precision

ROWS = tiny_deploy.text_rows()
FORMS = tuple(packed_rows.LAYOUTS)
_WORDS = 1024  # rows of the table of tokens: more than 64 KiB of it


def _table(rows: int, width: int) -> np.ndarray:
    values = np.random.default_rng(width).standard_normal((rows, width)).astype(np.float32)
    values[0] = 0
    return values


def _lookup(table: np.ndarray, *, second: bool = False, tied: bool = False, computed: bool = False) -> Any:
    """A graph that looks rows up in a table."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], "words")]
    outputs = ["y"]
    if second:
        nodes.append(helper.make_node("Gather", ["table", "more"], ["z"], "others"))
        outputs.append("z")
    if tied:
        nodes.append(helper.make_node("Gemm", ["state", "table"], ["z"], "output layer", transB=1))
        outputs.append("z")
    if computed:
        nodes = [helper.make_node("Abs", ["ids"], ["abs"]), *nodes]
        nodes[1].input[1] = "abs"
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n"]) for name in ("ids", "more")]
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, ["m", table.shape[1]])
    body = helper.make_graph(
        nodes,
        "g",
        [*inputs[: 1 + second], *([state] if tied else [])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None]) for name in outputs],
        [numpy_helper.from_array(table, "table")],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    return session.open_session(model.SerializeToString(), threads=1).run(None, feed)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("width", [1, 31, 32, 33, 63, 384])
def test_the_reference_is_the_operator(form: packed_rows.Form, width: int) -> None:
    """Every row comes back as NumPy unpacks it, to the bit, for widths that no block divides too."""
    table = _table(50, width)
    model = _lookup(table)
    (outcome,) = embeddings.quantize(model, smallest=1, packed=form)
    expected = packed_rows.unpack(packed_rows.pack(table, form), form, width)
    ids = np.arange(50)
    (answer,) = _run(model, ids=ids)
    assert np.array_equal(answer, expected)
    assert outcome.form == form
    assert outcome.bytes_after == 50 * packed_rows.row_bytes(width, form) + (24 if width % 32 else 0)
    assert outcome.largest_difference == float(np.abs(expected - table).max())
    onnx.checker.check_model(model)


def test_blocks_are_what_ggml_writes() -> None:
    """Q8_0 of 0, 1, .. 31 and Q4_0 of one block with a negative peak, by hand."""
    row = np.arange(32, dtype=np.float32)[None]
    packed = packed_rows.pack(row, "packed8")
    scale = np.float16(31 / 127)
    assert packed.shape == (1, 34)
    assert packed[0, :2].view(np.float16)[0] == scale
    assert packed[0, 2:].view(np.int8).tolist() == np.rint(row[0] / np.float32(scale)).tolist()
    row = np.zeros((1, 32), np.float32)
    row[0, 0], row[0, 1], row[0, 16] = -8.0, 7.0, 3.0
    packed = packed_rows.pack(row, "packed4")
    assert packed.shape == (1, 18)
    assert packed[0, :2].view(np.float16)[0] == 1.0
    assert packed[0, 2] == 0 | (3 + 8) << 4  # values 0 and 16 share a byte, the low half is the first
    assert packed[0, 3] == 15 | 8 << 4
    assert np.array_equal(packed_rows.unpack(packed, "packed4", 32), row)


@pytest.mark.parametrize("form", FORMS)
def test_values_come_back_within_their_step(form: packed_rows.Form) -> None:
    """Eight bits within half of a block's step; four nearer than by the scale of the peak alone."""
    table = _table(300, 96)
    table[7, :32] *= 1000  # one block is no other block's business
    back = packed_rows.unpack(packed_rows.pack(table, form), form, 96)
    peaks = np.abs(table.reshape(300, 3, 32)).max(axis=-1, keepdims=True)
    apart = np.abs(back - table).reshape(300, 3, 32)
    if form == "packed8":
        assert (apart <= peaks / 127 * 0.51 + 1e-7).all()
    else:
        plain = peaks / 8
        nearest = np.clip(np.rint(table.reshape(300, 3, 32) / np.where(plain == 0, 1, plain)), -8, 8) * plain
        assert np.square(apart).sum() < np.square(nearest - table.reshape(300, 3, 32)).sum()
    assert not back[0].any()


@pytest.mark.parametrize("form", FORMS)
def test_numbers_beyond_a_half_stay_finite(form: packed_rows.Form) -> None:
    """A scale that FP16 has no number for is its largest; one below its least takes the block to zero."""
    table = np.full((2, 32), 1e9, np.float32)
    table[1] = 1e-12
    back = packed_rows.unpack(packed_rows.pack(table, form), form, 32)
    assert np.isfinite(back).all()
    assert (back[0] > 4e5).all()
    assert not back[1].any()


def test_two_lookups_share_one_table() -> None:
    """What is looked up twice is stored once."""
    table = _table(40, 32)
    model = _lookup(table, second=True)
    (outcome,) = embeddings.quantize(model, smallest=1, packed="packed4")
    assert outcome.nodes == ("words", "others")
    assert [tensor.name for tensor in model.graph.initializer] == ["table_packed4"]
    first, second = _run(model, ids=np.array([3]), more=np.array([3]))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("packed", [None, *FORMS])
def test_a_table_that_is_an_output_layer_too_stays(packed: packed_rows.Form | None) -> None:
    """Tied weights would be stored twice; the reason is on record."""
    model = _lookup(_table(40, 32), tied=True)
    before = model.SerializeToString()
    (outcome,) = embeddings.quantize(model, smallest=1, packed=packed)
    assert (outcome.form, outcome.bytes_after) == ("float", outcome.bytes_before)
    assert outcome.reason == "'output layer' (Gemm) reads the table too"
    assert model.SerializeToString() == before


def test_ids_that_the_graph_computes_keep_gather() -> None:
    """It refuses an id that the table has no row for, which a lookup of packed rows answers by row 0."""
    table = _table(40, 32)
    model = _lookup(table, computed=True)
    (outcome,) = embeddings.quantize(model, smallest=1, packed="packed4")
    assert (outcome.form, outcome.reason) == ("int8", "its ids are computed in the graph")
    assert all(entry.domain == "" for entry in model.opset_import)
    packed = _lookup(table)
    embeddings.quantize(packed, smallest=1, packed="packed4")
    assert np.array_equal(*_run(packed, ids=np.array([40, 0])).pop())
    with pytest.raises(session.refusals(), match="out of data bounds"):
        _run(_lookup(table), ids=np.array([40]))


def test_external_data(tmp_path: Path) -> None:
    """Packed rows in a file of their own are read as those inside."""
    table = _table(600, 64)
    model = _lookup(table)
    embeddings.quantize(model, smallest=1, packed="packed4")
    path = graph.save(model, tmp_path, external=True)
    assert (tmp_path / "model.onnx.data").stat().st_size >= 600 * 36
    (answer,) = session.open_session(path, threads=1).run(None, {"ids": np.arange(600)})
    assert np.array_equal(answer, packed_rows.unpack(packed_rows.pack(table, "packed4"), "packed4", 64))


def test_parameters_are_values_and_not_bytes() -> None:
    """A table of 40 rows of 33 values, in rows of 64: the padding counts, the scales do not."""
    model = _lookup(_table(40, 33))
    embeddings.quantize(model, smallest=1, packed="packed4")
    assert _graph_costs.count_parameters(model) == 40 * 64


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A classifier with a table of 128 KiB, as an FP32 graph and in each form."""
    import torch

    from compress.model import checkpoint
    from compress.tasks import text_classification

    folder = tmp_path_factory.mktemp("packed")
    plain = tiny_deploy.text_artifact(folder / "plain")
    model = checkpoint.load(plain.path, text_classification)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model.resize_token_embeddings(_WORDS)
    wide = folder / "wide"
    wide.mkdir()
    checkpoint.save(model, wide, source=plain.path)
    exported = tiny_deploy.run("export_onnx", tiny_deploy.seal(wide), folder / "onnx", ROWS).artifact
    forms = {
        form: tiny_deploy.run("quantize_onnx", exported, folder / form, ROWS, mode="dynamic", embeddings=form)
        for form in FORMS
    }
    return SimpleNamespace(onnx=exported, **forms)


def _counts(artifact: Artifact) -> Counter[str]:
    return Counter(node.op_type for node in graph.load(artifact.file("model.onnx")).graph.node)


@pytest.mark.parametrize("form", FORMS)
def test_an_artifact_with_packed_rows_is_one_like_any_other(
    form: str, models: SimpleNamespace, tmp_path: Path
) -> None:
    """Its content is verified, it runs, its figures are on record, and the profile shows the lookup."""
    run = getattr(models, form)
    artifact = run.artifact
    (table,) = run.facts["embeddings"]
    blocks = {"packed8": 34, "packed4": 18}
    assert (table["form"], table["bytes_before"]) == (form, _WORDS * 32 * 4)
    assert table["bytes_after"] == _WORDS * blocks[form]
    assert 0 < table["largest_difference"] < 0.5
    assert run.facts["quantized"]["tables"] == list(table["nodes"])
    assert graph_facts.read(artifact).fused
    assert _counts(artifact)["GatherPacked"] == 1
    content.check(artifact)
    feed = {
        "input_ids": np.array([[2, 5, 6, 3]]),
        "attention_mask": np.ones((1, 4), np.int64),
        "token_type_ids": np.zeros((1, 4), np.int64),
    }
    with runner(artifact, threads=1) as opened, runner(models.onnx, threads=1) as plain:
        answer, expected = (r.infer(feed)["logits"] for r in (opened, plain))
    assert np.abs(answer - expected).max() < 0.5
    profiled = session.open_session(artifact.file("model.onnx"), threads=1, profile=tmp_path / "profile")
    for _ in range(3):
        profiled.run(None, feed)
    nodes = _profile.read(Path(profiled.end_profiling()))
    (lookup,) = (node for node in nodes if node.op == "GatherPacked")
    assert (lookup.precision, lookup.product) == ("int8", False)
    assert sum(v for k, v in execution.shares(nodes, "CPUExecutionProvider").items() if "_time" in k) <= 1


def test_a_bundle_names_the_runtime_that_it_needs(models: SimpleNamespace, tmp_path: Path) -> None:
    """In the card's command, among its limits, and in bundle.json; a plain graph needs none in particular."""
    out = bundle(models.packed4.artifact, tmp_path / "packed")
    assert "pip install 'paredown[cpu]' 'onnxruntime>=1.32'" in (out / "README.md").read_text()
    assert "needs ONNX Runtime 1.32 or later" in (out / "README.md").read_text()
    assert '"onnxruntime": "1.32"' in (out / "bundle.json").read_text()
    assert verify(out).id == models.packed4.artifact.id
    plain = bundle(models.onnx, tmp_path / "plain")
    assert '"onnxruntime": null' in (plain / "bundle.json").read_text()
    assert "onnxruntime>=" not in (plain / "README.md").read_text()


def test_an_older_runtime_is_said(models: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever packs or opens with one reads which version has the operator, and how to get it."""
    path = models.packed4.artifact.file("model.onnx")
    assert runtime_versions.needed(graph.load(path)) == "1.32"
    assert runtime_versions.missing("GatherPacked") is None
    monkeypatch.setattr(runtime_versions.environment, "version", lambda _: "1.31.1")
    monkeypatch.setattr(structure, "_runtime_operators", lambda: frozenset({"FusedMatMul"}))
    sentence = (
        "ONNX Runtime has GatherPacked from 1.32 on, and installed is onnxruntime.* 1.31.1: pip install"
    )
    with pytest.raises(UserError, match=f"embeddings: packed4 was asked for. {sentence}"):
        embeddings.quantize(_lookup(_table(40, 32)), smallest=1, packed="packed4")
    with pytest.raises(ArtifactError, match=sentence):
        structure.check(graph.load(path), path)


@pytest.mark.parametrize(
    ("version", "numbers"), [("1.32.0", (1, 32, 0)), ("1.33.0.dev20261101", (1, 33, 0)), ("1.9", (1, 9))]
)
def test_versions_are_compared_by_their_numbers(version: str, numbers: tuple[int, ...]) -> None:
    """1.9 is before 1.32."""
    assert runtime_versions.parts(version) == numbers


def test_what_reads_no_packed_rows_refuses_them(models: SimpleNamespace, tmp_path: Path) -> None:
    """TensorRT before anything is done; half precision by the plain graph."""
    with pytest.raises(RecipeError, match="embeddings: packed4 is read by an operator of ONNX Runtime's own"):
        tiny_deploy.run(
            "quantize_onnx", models.onnx, tmp_path / "trt", ROWS, target="tensorrt", embeddings="packed4"
        )
    with pytest.raises(UserError, match=r"holds operators of ONNX Runtime's own \(fused ones, or lookups"):
        tiny_deploy.run("half_precision", models.packed4.artifact, tmp_path / "half", ROWS)
    assert half_precision.PRODUCES == "onnx"
