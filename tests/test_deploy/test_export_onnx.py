"""Export: parity on real rows, shapes beyond the traced one, pruned widths, external data, limits."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tiny_deploy
import torch

from compress import fence
from compress.artifacts.artifact import Artifact
from compress.errors import DataError, ModelError, ParityError, UserError
from compress.model import checkpoint
from compress.tasks import ExportSpec, text_classification
from deploy import session
from deploy.graph import constant_shapes, torch_export
from deploy.graph import nodes as graph
from deploy.opening import runner


def _outputs(artifact: Artifact, feed: dict[str, np.ndarray]) -> np.ndarray:
    with runner(artifact, threads=1) as opened:
        return opened.infer(feed)["logits"].copy()


def _feed(ids: list[list[int]], mask: list[list[int]] | None = None) -> dict[str, np.ndarray]:
    array = np.asarray(ids, dtype=np.int64)
    return {
        "input_ids": array,
        "attention_mask": np.asarray(mask, dtype=np.int64) if mask else np.ones_like(array),
        "token_type_ids": np.zeros_like(array),
    }


@pytest.fixture
def source(tmp_path: Path) -> Artifact:
    """A sealed tiny text classifier."""
    return tiny_deploy.text_artifact(tmp_path / "torch")


def test_the_graph_computes_what_pytorch_computes(source: Artifact, tmp_path: Path) -> None:
    """At other batches and lengths, and under left-padded and holed masks; the figures are recorded."""
    run = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows())
    assert run.artifact.kind == "onnx"
    for feed in (
        _feed([[2, 5, 3]]),
        _feed([[2, 5, 9, 17, 3] for _ in range(5)]),
        _feed([[0, 0, 2, 7, 3], [2, 8, 9, 10, 3]], [[0, 0, 1, 1, 1], [1, 0, 1, 0, 1]]),
    ):
        np.testing.assert_allclose(_outputs(run.artifact, feed), _outputs(source, feed), atol=2e-5)
    cases = [case["case"] for case in run.facts["parity"]["cases"]]
    assert {name.split()[0] for name in cases} == {
        "one",
        "right-padded",
        "left-padded",
        "left-padded,",
        "holed",
        "a",
    }
    assert {"a row of 32 tokens beside a short one", "a row of 24 tokens beside a short one"} <= set(cases)
    worst = run.facts["parity"]["worst"]
    assert 0 <= worst["largest"] <= worst["allowed"]


def test_the_result_stands_alone_and_is_the_same_every_time(source: Artifact, tmp_path: Path) -> None:
    """Config, processor and length limit travel along; two runs give one content id."""
    rows = tiny_deploy.text_rows()
    first = tiny_deploy.run("export_onnx", source, tmp_path / "a", rows)
    second = tiny_deploy.run("export_onnx", source, tmp_path / "b", rows)
    assert first.artifact.id == second.artifact.id
    assert {"model.onnx", "graph.json", "config.json", "encoding.json", "tokenizer.json"} <= set(
        first.artifact.manifest.files
    )
    assert not any(
        "torch" in prop.key for prop in onnx.load(str(first.artifact.file("model.onnx"))).metadata_props
    )


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_pruned_layers_of_different_width_are_exported(
    exporter: str, source: Artifact, tmp_path: Path
) -> None:
    """One head and half of the neurons are gone from the first layer only; nothing else changes."""
    if exporter == "dynamo":
        pytest.importorskip("onnxscript")
    model = checkpoint.load(source.path, text_classification)
    layer = model.bert.encoder.layer[0]
    attention, rows = layer.attention, slice(8, 32)
    for linear in (attention.self.query, attention.self.key, attention.self.value):
        linear.weight.data, linear.bias.data = linear.weight.data[rows], linear.bias.data[rows]
        linear.out_features = 24
    attention.output.dense.weight.data = attention.output.dense.weight.data[:, rows]
    attention.output.dense.in_features = 24
    layer.intermediate.dense.weight.data = layer.intermediate.dense.weight.data[:40]
    layer.intermediate.dense.bias.data = layer.intermediate.dense.bias.data[:40]
    layer.intermediate.dense.out_features = 40
    layer.output.dense.weight.data = layer.output.dense.weight.data[:, :40]
    layer.output.dense.in_features = 40
    for name in ("num_attention_heads", "all_head_size"):
        if hasattr(attention.self, name):
            setattr(attention.self, name, {"num_attention_heads": 3, "all_head_size": 24}[name])
    folder = tmp_path / "pruned"
    folder.mkdir()
    checkpoint.save(model, folder, source=source.path)
    pruned = tiny_deploy.seal(folder, stage="prune")
    opset = 18 if exporter == "dynamo" else 17
    run = tiny_deploy.run(
        "export_onnx", pruned, tmp_path / "onnx", tiny_deploy.text_rows(), exporter=exporter, opset=opset
    )
    feed = _feed([[2, 5, 9, 17, 3], [2, 8, 3, 0, 0]], [[1] * 5, [1, 1, 1, 0, 0]])
    np.testing.assert_allclose(_outputs(run.artifact, feed), _outputs(pruned, feed), atol=2e-5)
    shapes = {tuple(tensor.dims) for tensor in graph.load(run.artifact.file("model.onnx")).graph.initializer}
    assert shapes & {(32, 40), (40, 32)}


def test_external_data_lies_beside_the_graph(source: Artifact, tmp_path: Path) -> None:
    """Weights in a file of their own are listed in the manifest and found when the folder moved."""
    run = tiny_deploy.run(
        "export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows(), external_data=True
    )
    files = run.artifact.manifest.files
    assert files["model.onnx.data"].bytes > 10_000
    assert files["model.onnx"].bytes < files["model.onnx.data"].bytes * 5
    moved = run.artifact.path.rename(tmp_path / "elsewhere")
    feed = _feed([[2, 5, 3]])
    np.testing.assert_allclose(_outputs(Artifact.open(moved), feed), _outputs(source, feed), atol=2e-5)


def test_big_weights_go_to_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What protobuf cannot hold is split off without being asked."""
    weight = onnx.numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    info = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            "g",
            [info("x", onnx.TensorProto.FLOAT, [None, 64])],
            [info("y", onnx.TensorProto.FLOAT, [None, 64])],
            [weight],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    monkeypatch.setattr(graph, "_PROTOBUF_LIMIT", 4096)
    path = graph.save(model, tmp_path)
    assert (tmp_path / "model.onnx.data").stat().st_size >= 64 * 64 * 4
    assert path.stat().st_size < 4096
    assert graph.weight_bytes(model) == 64 * 64 * 4, "the caller's graph keeps its weights"
    outputs = session.infer_with(session.open_session(path, threads=1))({"x": np.ones((1, 64), np.float32)})
    assert outputs["y"].tolist() == [[64.0] * 64]


def test_a_failed_parity_fails_the_stage(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph with one weight off is refused with the worst case and its figure."""
    real = torch_export.export

    def spoiled(wrapped: Any, sample: Any, spec: Any, path: Path, **options: Any) -> None:
        real(wrapped, sample, spec, path, **options)
        model = onnx.load(str(path))
        for tensor in model.graph.initializer:
            if tensor.name.endswith("classifier.bias"):
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([1.0, 0.0], np.float32), tensor.name))
        onnx.save(model, str(path))

    monkeypatch.setattr(torch_export, "export", spoiled)
    with pytest.raises(ParityError, match=r"exported graph does not compute .* off by [01]\.\d+"):
        tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows())


def test_limits_of_an_export_are_kept(source: Artifact, tmp_path: Path) -> None:
    """A batch or length beyond what was exported is refused with what is allowed."""
    run = tiny_deploy.run(
        "export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows(), max_batch=2, max_length=8
    )
    assert checkpoint.read_max_length(run.artifact.path) == 8
    with runner(run.artifact, threads=1) as opened:
        opened.infer(_feed([[2] * 8] * 2))
        with pytest.raises(Exception, match=r"size 3 on axis 0; allowed: 1 to 2"):
            opened.infer(_feed([[2] * 8] * 3))
        with pytest.raises(Exception, match=r"size 9 on axis 1; allowed: 1 to 8"):
            opened.infer(_feed([[2] * 9]))


def test_the_position_table_limits_the_length(source: Artifact, tmp_path: Path) -> None:
    """Without an option, the model's 64 positions are the limit."""
    run = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows())
    facts = json.loads(run.artifact.file("graph.json").read_text())
    assert facts["limits"]["input_ids"] == {"1": 64}
    with (
        runner(run.artifact, threads=1) as opened,
        pytest.raises(Exception, match=r"size 65 on axis 1; allowed: 1 to 64"),
    ):
        opened.infer(_feed([[2] * 65]))


def test_other_tasks_are_exported_too(tmp_path: Path) -> None:
    """Images have a free batch and nothing else; tokens have one output a position."""
    images = tiny_deploy.image_artifact(tmp_path / "vit")
    generator = np.random.default_rng(0)
    pictures = [{"image": generator.integers(0, 255, (8, 8), dtype=np.uint8)} for _ in range(12)]
    run = tiny_deploy.run("export_onnx", images, tmp_path / "vit-onnx", pictures)
    pixels = {"pixel_values": generator.normal(size=(5, 1, 8, 8)).astype(np.float32)}
    np.testing.assert_allclose(_outputs(run.artifact, pixels), _outputs(images, pixels), atol=2e-5)
    tokens = tiny_deploy.token_artifact(tmp_path / "ner")
    rows = [{"tokens": row["text"].split()} for row in tiny_deploy.text_rows(12)]
    run = tiny_deploy.run("export_onnx", tokens, tmp_path / "ner-onnx", rows)
    feed = _feed([[2, 5, 9, 3, 0]], [[1, 1, 1, 1, 0]])
    np.testing.assert_allclose(_outputs(run.artifact, feed), _outputs(tokens, feed), atol=2e-5)
    assert _outputs(run.artifact, feed).shape == (1, 5, 3)


def test_rows_are_needed(source: Artifact, tmp_path: Path) -> None:
    """Without real rows there is no parity check, and so no export."""
    with pytest.raises(DataError, match="needs at least 2 training rows and found 0"):
        tiny_deploy.run("export_onnx", source, tmp_path / "onnx", [])


def test_reshape_targets_are_folded_only_where_they_copy() -> None:
    """Copied axes become 0, constants stay, one axis may be computed, two may not."""
    target = constant_shapes.target
    assert target([(2, 7, 32), (3, 11, 32)], [(2, 7, 4, 8), (3, 11, 4, 8)]) == [0, 0, 4, 8]
    assert target([(2, 4, 7, 8), (3, 4, 11, 8)], [(2, 7, 32), (3, 11, 32)]) == [0, -1, 32]
    assert target([(2, 7), (3, 11)], [(7, 2), (11, 3)]) is None
    assert target([(2, 7), (3, 11)], [(14,), (33,)]) == [-1]


def test_folding_takes_nodes_out_and_changes_nothing(source: Artifact, tmp_path: Path) -> None:
    """The folded graph has fewer nodes and equal outputs."""
    rows = tiny_deploy.text_rows()
    plain = tiny_deploy.run("export_onnx", source, tmp_path / "a", rows, fold_shapes=False)
    folded = tiny_deploy.run("export_onnx", source, tmp_path / "b", rows)
    assert folded.facts["graph"]["shapes_folded"] == 8
    assert folded.facts["graph"]["nodes"] < plain.facts["graph"]["nodes"] - 40
    for feed in (_feed([[2, 5, 3]]), _feed([[2, 5, 9, 3], [2, 8, 3, 0]], [[1] * 4, [1, 1, 1, 0]])):
        np.testing.assert_array_equal(_outputs(plain.artifact, feed), _outputs(folded.artifact, feed))


def test_exporters_warnings_stay_inside(source: Artifact, tmp_path: Path) -> None:
    """What torch says about its own exporter does not reach the user; warnings are errors here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ResourceWarning)
        tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows(8))


def test_upstream_still_warns() -> None:
    """The fence around the exporter has a reason while torch announces that this path will go."""
    model = torch.nn.Linear(2, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.onnx.export(model, (torch.zeros(1, 2),), str(Path("/dev/null")), dynamo=False)
    assert any(issubclass(warning.category, DeprecationWarning) for warning in caught)


def test_the_reason_of_an_exporter_is_found_between_its_advice() -> None:
    """TorchScript says it last; dynamo puts advice before and behind it."""
    script = RuntimeError("Unsupported: a\n\nExporting the operator 'aten::fft_fftn' is not supported.\n")
    assert torch_export.reason_of(script) == "Exporting the operator 'aten::fft_fftn' is not supported"
    dynamo = RuntimeError(
        "Failed to export the model with torch.export.\n- Create an issue\n## Exception summary\n\n"
        "<class 'ValueError'>: tracing inferred a static shape\n\n(Refer to the full stack trace above.)"
    )
    assert torch_export.reason_of(dynamo) == "tracing inferred a static shape"
    assert torch_export.reason_of(RuntimeError()) == "RuntimeError"


class _DependsOnData(torch.nn.Module):
    """A model with a branch that no exporter of graphs can follow."""

    def forward(self, input_ids: torch.Tensor, return_dict: bool) -> dict[str, torch.Tensor]:
        """As many rows as the ids sum up to."""
        count = int(input_ids.sum())
        return {"logits": torch.zeros(count) if count > 3 else torch.ones(2, count)}


def test_what_an_exporter_prints_is_held_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model that dynamo cannot follow is one sentence, without the intermediate graph."""
    wrapped = torch_export.NamedOutputs(_DependsOnData(), ("input_ids",), ("logits",)).eval()
    spec = ExportSpec(inputs={"input_ids": {0: "batch"}}, outputs={"logits": {0: "batch"}}, length_axis=None)
    sample = {"input_ids": np.ones((3, 2), dtype=np.int64)}
    with pytest.raises(ModelError, match="_DependsOnData cannot be exported by the dynamo exporter"):
        torch_export.export(wrapped, sample, spec, tmp_path / "m.onnx", exporter="dynamo", opset=18)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


class _OddError(Exception):
    """A class of its own, as models and exporters have them."""


class _Odd(torch.nn.Module):
    """A model whose code raises what nobody lists."""

    def forward(self, input_ids: torch.Tensor, return_dict: bool) -> dict[str, torch.Tensor]:
        """Never gives anything."""
        raise _OddError("this layer counts\nin base seven")


class _Short(torch.nn.Module):
    """A model that gives other outputs than those that were asked for."""

    def forward(self, input_ids: torch.Tensor, return_dict: bool) -> dict[str, torch.Tensor]:
        """One output."""
        return {"scores": input_ids.float()}


def _export(model: torch.nn.Module, exporter: Any, path: Path) -> None:
    wrapped = torch_export.NamedOutputs(model, ("input_ids",), ("logits",)).eval()
    spec = ExportSpec(inputs={"input_ids": {0: "batch"}}, outputs={"logits": {0: "batch"}}, length_axis=None)
    sample = {"input_ids": np.ones((3, 2), dtype=np.int64)}
    opset = 18 if exporter == "dynamo" else 17
    torch_export.export(wrapped, sample, spec, path, exporter=exporter, opset=opset)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_whatever_a_models_own_code_raises_is_a_sentence(exporter: str, tmp_path: Path) -> None:
    """An exception of any class, raised in code that is not ours, is about the model: cause and remedy."""
    alternative = "dynamo" if exporter == "torchscript" else "torchscript"
    reason = rf"_Odd cannot be exported by the {exporter} .*(base seven|counts).*Try exporter: {alternative}"
    with pytest.raises(ModelError, match=reason):
        _export(_Odd(), exporter, tmp_path / "m.onnx")
    wrapped = torch_export.NamedOutputs(_Odd(), ("input_ids",), ("logits",))
    with pytest.raises(ModelError, match=r"this _Odd does not run in PyTorch \(this layer counts\)"):
        torch_export.infer_with(wrapped)({"input_ids": np.ones((1, 2), dtype=np.int64)})


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_fault_of_ours_in_an_export_keeps_its_traceback(exporter: str, tmp_path: Path) -> None:
    """What is raised in a line of paredown's is no sentence about the model, even where torch wraps it."""
    with pytest.raises(Exception, match="logits") as raised:
        _export(_Short(), exporter, tmp_path / "m.onnx")
    assert not isinstance(raised.value, UserError)
    assert fence.is_ours(raised.value)
    wrapped = torch_export.NamedOutputs(_Short(), ("input_ids",), ("logits",))
    with pytest.raises(KeyError, match="logits"):
        torch_export.infer_with(wrapped)({"input_ids": np.ones((1, 2), dtype=np.int64)})


class _Unfolds(torch.nn.Module):
    """MobileViT-v2's fold, whose TorchScript translation breaks off in the middle."""

    def forward(self, input_ids: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        """Patches put together again, to a size that the trace carries."""
        size = (input_ids.shape[0], input_ids.shape[1])
        patches = input_ids.float().reshape(1, 4, -1)
        return {"logits": torch.nn.functional.fold(patches, size, kernel_size=2, stride=2)}


def test_what_the_tracer_prints_is_held_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its C++ part prints the graph past Python's streams: 590 lines for MobileViT-v2 at opset 18."""
    wrapped = torch_export.NamedOutputs(_Unfolds(), ("input_ids",), ("logits",)).eval()
    spec = ExportSpec(inputs={"input_ids": {0: "batch"}}, outputs={"logits": {0: "batch"}}, length_axis=None)
    sample = {"input_ids": np.ones((2, 2), dtype=np.int64)}
    with pytest.raises(ModelError, match="cannot be exported by the torchscript exporter"):
        torch_export.export(wrapped, sample, spec, tmp_path / "m.onnx", exporter="torchscript", opset=18)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


class _EndsInEach:
    """A session of a graph that does not run."""

    def __call__(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What ONNX Runtime raises."""
        raise session.refusals()[0]("index out of bounds\nmore")


def test_a_graph_that_does_not_run_is_one_sentence(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ONNX Runtime raises of a graph that was just exported is about the model (Longformer, Funnel)."""
    monkeypatch.setattr(tiny_deploy.stage("export_onnx"), "infer_with", lambda _session: _EndsInEach())
    with pytest.raises(ModelError, match=r"BertFor.* does not run .*\(index out of bounds\).*dynamo"):
        tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows())


def test_an_input_that_the_trace_lost_is_named(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that answers without its mask here (MRA without its kernel does) gives no graph without one."""

    def forward(wrapped: torch_export.NamedOutputs, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (wrapped.model(input_ids=arrays[0]).logits,)

    monkeypatch.setattr(torch_export.NamedOutputs, "forward", forward)
    with pytest.raises(ModelError, match=r"does not take attention_mask.*try exporter: dynamo"):
        tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows())


def test_shapes_stay_where_cut_rows_do_not_run(
    source: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T5 looks for the end of every row, which a row that was cut for the look at shapes has not."""

    def fold(*_arguments: object) -> int:
        raise session.refusals()[0]("no row has an end")

    monkeypatch.setattr(constant_shapes, "fold", fold)
    run = tiny_deploy.run("export_onnx", source, tmp_path / "onnx", tiny_deploy.text_rows())
    assert run.facts["graph"]["shapes_folded"] == 0
