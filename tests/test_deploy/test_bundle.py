"""Bundles: what is in the folder, whether it runs, what its script does, and what is refused."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_target
import pytest
import tiny_deploy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

import deploy
from compress.artifacts import artifact as artifacts
from compress.artifacts import seal
from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError, UserError
from compress.label_names import LabelNames
from compress.tasks import text_classification
from deploy.encoder import Encoder
from deploy.handover import build_engine, card, sums
from deploy.handover.bundle import Target, bundle
from deploy.tensorrt import passport
from paredown.app import main

ROWS = tiny_deploy.text_rows()
GPU = {
    "name": "NVIDIA Test",
    "compute_capability": "8.9",
    "memory_bytes": 1 << 30,
    "driver": "580.1",
    "cuda": "13.0",
}
PROFILES = ("batch=1:4:8,length=1:16:16", "batch=1:4:8,length=17:32:32")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny classifier: weights, FP32, FP16 and INT8 graphs."""
    root = tmp_path_factory.mktemp("bundle")
    torch = tiny_deploy.text_artifact(root / "torch")
    onnx = tiny_deploy.run("export_onnx", torch, root / "onnx", ROWS).artifact
    half = tiny_deploy.run("half_precision", onnx, root / "fp16", ROWS).artifact
    int8 = tiny_deploy.run("quantize_onnx", onnx, root / "int8", ROWS, target="tensorrt").artifact
    old = tiny_deploy.run("quantize_onnx", onnx, root / "old", ROWS, target="tensorrt", opset=17).artifact
    cpu = tiny_deploy.run("quantize_onnx", onnx, root / "cpu", ROWS).artifact
    return SimpleNamespace(root=root, torch=torch, onnx=onnx, half=half, int8=int8, old=old, cpu=cpu)


def model_config(text: str) -> Any:
    """A ``config.pbtxt`` parsed by the part of Triton's schema that is used, with its field numbers."""
    fields = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="config.proto", package="inference", syntax="proto3")

    def message(name: str, /, **members: tuple[int, Any, bool]) -> None:
        message_type = file.message_type.add(name=name)
        for member, (number, kind, many) in members.items():
            label = fields.LABEL_REPEATED if many else fields.LABEL_OPTIONAL
            field = message_type.field.add(name=member, number=number, label=label)
            if isinstance(kind, str):
                field.type = fields.TYPE_ENUM if kind in ("DataType", "Kind") else fields.TYPE_MESSAGE
                field.type_name = f".inference.{kind}"
            else:
                field.type = kind

    types = file.enum_type.add(name="DataType")
    for number, name in enumerate(("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16",
                                   "INT32", "INT64", "FP16", "FP32")):  # fmt: skip
        types.value.add(name=f"TYPE_{name}", number=number)
    kinds = file.enum_type.add(name="Kind")
    for number, name in enumerate(("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")):
        kinds.value.add(name=name, number=number)
    text_type, int64, int32 = fields.TYPE_STRING, fields.TYPE_INT64, fields.TYPE_INT32
    message("Reshape", shape=(1, int64, True))
    message("Input", name=(1, text_type, False), data_type=(2, "DataType", False), dims=(4, int64, True),
            reshape=(5, "Reshape", False))  # fmt: skip
    message("Output", name=(1, text_type, False), data_type=(2, "DataType", False), dims=(3, int64, True),
            reshape=(5, "Reshape", False))  # fmt: skip
    message("Group", count=(2, int32, False), kind=(4, "Kind", False), profile=(5, text_type, True))
    message("Batching")
    message("ModelConfig", name=(1, text_type, False), max_batch_size=(4, int32, False),
            input=(5, "Input", True), output=(6, "Output", True), instance_group=(7, "Group", True),
            default_model_filename=(8, text_type, False), dynamic_batching=(11, "Batching", False),
            backend=(17, text_type, False))  # fmt: skip
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    config = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    text_format.Parse(text, config)
    return config


def test_a_bundle_runs_by_itself(models: SimpleNamespace, tmp_path: Path) -> None:
    """Moved elsewhere, it verifies with and without paredown, and predicts what the artifact predicts."""
    out = bundle(models.onnx, tmp_path / "review")
    moved = tmp_path / "elsewhere"
    shutil.move(out, moved)
    assert sums.verify(moved).id == models.onnx.id
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=moved, check=False)
    assert checked.returncode == 0
    with (
        deploy.load(models.onnx.path, threads=1) as ours,
        deploy.load(moved / "artifact", threads=1) as theirs,
    ):
        assert [prediction.label for prediction in ours.predict(ROWS)] == [
            prediction.label for prediction in theirs.predict(ROWS)
        ]
    served = moved / "triton" / "review" / "1" / "model.onnx"
    assert hashlib.sha256(served.read_bytes()).hexdigest() == models.onnx.manifest.files["model.onnx"].sha256
    facts = json.loads((moved / "bundle.json").read_text())
    assert (facts["artifact"], facts["kind"], facts["built_on_target"]) == (models.onnx.id, "onnx", None)


def test_tritons_configuration_says_what_the_graph_has(models: SimpleNamespace, tmp_path: Path) -> None:
    """Names, types and axes without the batch; the exported limit bounds the batch."""
    out = bundle(models.half, tmp_path / "out", name="sst2", max_batch=16)
    config = model_config((out / "triton" / "sst2" / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == ("sst2", "onnxruntime", 16)
    assert {tensor.name: list(tensor.dims) for tensor in config.input} == {
        "input_ids": [-1],
        "token_type_ids": [-1],
        "attention_mask": [-1],
    }
    assert {tensor.data_type for tensor in config.input} == {9}
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.output] == [
        ("logits", 11, [2])
    ]
    assert config.HasField("dynamic_batching")
    small = tiny_deploy.run("export_onnx", models.torch, tmp_path / "small", ROWS, max_batch=4).artifact
    limited = bundle(small, tmp_path / "limited")
    assert model_config((limited / "triton/limited/config.pbtxt").read_text()).max_batch_size == 4
    with pytest.raises(UserError, match="--max-batch is 8, and the model takes at most 4 rows at once"):
        bundle(small, tmp_path / "never", max_batch=8)
    assert not (tmp_path / "never").exists()


def test_the_card_says_what_is_known(models: SimpleNamespace, tmp_path: Path) -> None:
    """Lineage, labels and limits from the manifest; no figure without a report; no folder of this machine."""
    text = (bundle(models.int8, tmp_path / "out") / "README.md").read_text()
    assert "negative, positive" in text
    assert "| int8; everything else fp32 |" in text
    assert "32 tokens, the artifact's limit; what is longer is cut" in text
    assert f"| load | {{}} | 0 | {models.torch.id[:12]} |" not in text, "sealed by hand: its own step only"
    assert "| quantize_onnx |" in text
    assert "Nothing: no report was given" in text
    assert text.count("not known") >= 4
    assert str(tmp_path) not in text
    torch = bundle(models.torch, tmp_path / "weights")
    assert not (torch / "triton").exists()
    assert "tritonserver" not in (torch / "README.md").read_text()
    assert sums.verify(torch).id == models.torch.id


def test_the_card_says_what_no_figure_shows(models: SimpleNamespace, tmp_path: Path) -> None:
    """Names that were guessed, or are nobody's, and answers that padding moves."""
    encoder = Encoder.open(models.torch.path, text_classification)
    plain = card.Subject(
        name="m",
        artifact=models.torch,
        head=encoder.head,
        precision=None,
        limit=None,
        labels=LabelNames(unknown=True, borrowed_from="base", by_order=("0 = no", "1 = yes")),
        pads=False,
        settled=True,
        triton=None,
        build=False,
    )
    text = card.card(plain)
    assert "- The labels have no names: LABEL_0" in text
    assert "- The names of the labels are those of the adapter's base" in text
    assert "taken by their order alone: 0 = no, 1 = yes." in text
    assert "- Its answers depend on how far a row is padded" in text
    report = _report(tmp_path / "r.json", models.int8.id)
    tree = seal.broken(json.loads(report.read_text())) | {"label_order": ["0 = no", "1 = yes"]}
    report.write_text(json.dumps(seal.sealed(tree)))
    figures = (bundle(models.int8, tmp_path / "out", report=report) / "README.md").read_text()
    assert "by their order alone, which no figure can check: 0 = no, 1 = yes." in figures


def _report(path: Path, artifact: str, schema: int = 2) -> Path:
    measured = {"probe": "accuracy", "candidate": "int8", "unit": "share", "better": "higher"}
    spread = {"low": 0.9, "high": 0.92, "level": 0.95}
    time = {"metric": "latency_p50_ms", "unit": "ms"}
    report = {
        "schema_version": schema,
        "candidates": [
            {"name": "base", "artifact": "0" * 64, "runtime": "pytorch", "device": "cpu", "threads": 2},
            {"name": "int8", "artifact": artifact, "runtime": "ort", "device": "cpu", "threads": 2},
        ],
        "measurements": [
            {**measured, "metric": "accuracy", "value": 0.9125, "interval": spread},
            {**measured, **time, "value": 2.5, "conditions": {"batch_size": 1}},
            {**measured, "candidate": "base", "metric": "accuracy", "value": 0.4321},
        ],
        "baseline": "base",
        "verdicts": [{"gate": "accuracy-drop", "candidate": "int8", "status": "pass",
                      "reason": "accuracy fell by 0.1 pt"}],
        "data": {"rows": 872},
        "environment": {"cpu": "A Processor"},
        "created": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    path.write_text(json.dumps(seal.sealed(report)))
    return path


@pytest.mark.parametrize("schema", [1, 2])
def test_figures_come_from_a_report_of_this_artifact(
    models: SimpleNamespace, tmp_path: Path, schema: int
) -> None:
    """Its own figures with conditions and interval, not the others'; another artifact's report is refused."""
    report = _report(tmp_path / "r.json", models.int8.id, schema)
    out = bundle(models.int8, tmp_path / "out", report=report)
    text = (out / "README.md").read_text()
    assert "| accuracy | 91.25 % | 90.0 to 92.0 (95%) |" in text
    assert "| latency p50 | 2.50 ms |  | batch size 1 |" in text
    assert "0.4321" not in text
    assert "On 872 evaluation rows, 2026-01-02T03:04:05+00:00, on A Processor" in text
    assert "- accuracy-drop: pass: accuracy fell by 0.1 pt" in text
    assert (out / "report.json").read_bytes() == report.read_bytes()
    with pytest.raises(
        UserError, match=r"has no figure of this artifact .* it measured: base \(000000000000\)"
    ):
        bundle(models.half, tmp_path / "other", report=report)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="is not a paredown report"):
        bundle(models.half, tmp_path / "other", report=tmp_path / "bad.json")
    tree = json.loads(report.read_text())
    for edited, words in (
        ({**tree, "created": "2026-02-02"}, "was changed after it was written"),
        (seal.broken(tree), "has no checksum"),
    ):
        report.write_text(json.dumps(edited))
        with pytest.raises(UserError, match=words):
            bundle(models.int8, tmp_path / "other", report=report)
    assert not (tmp_path / "other").exists()


def test_a_baseline_at_chance_is_said_on_the_card(models: SimpleNamespace, tmp_path: Path) -> None:
    """Whoever is handed the model reads that its figures compare with a head that has learned nothing."""
    tree = seal.broken(json.loads(_report(tmp_path / "r.json", models.int8.id).read_text()))
    tree["measurements"][2]["blind"] = 0.5
    (tmp_path / "r.json").write_text(json.dumps(seal.sealed(tree)))
    text = (bundle(models.int8, tmp_path / "out", report=tmp_path / "r.json") / "README.md").read_text()
    assert "**The baseline 'base' is no better than chance**: accuracy 43.21 %" in text
    assert "one answer for every row gets 50.00 %" in text


def test_changes_are_found(models: SimpleNamespace, tmp_path: Path) -> None:
    """A changed, missing or added file is named."""
    out = bundle(models.onnx, tmp_path / "out")
    (out / "README.md").write_text("better than ever")
    (out / "extra.txt").write_text("x")
    (out / "triton/out/config.pbtxt").unlink()
    changes = "missing triton/out/config.pbtxt; added extra.txt; changed README.md"
    with pytest.raises(ArtifactError, match=changes):
        sums.verify(out)
    with pytest.raises(ArtifactError, match="is no bundle"):
        sums.verify(tmp_path)
    (out / "SHA256SUMS").write_text(f"{'0' * 64}  ../outside\n")
    with pytest.raises(ArtifactError, match="names no file of the bundle"):
        sums.verify(out)


def test_nothing_is_overwritten_and_nothing_half_written(
    models: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with something in it is refused; a failure on the way leaves no folder behind."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(UserError, match="is in use"):
        bundle(models.onnx, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "empty").mkdir()
    bundle(models.onnx, tmp_path / "empty")

    def broken(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sums, "seal", broken)
    with pytest.raises(OSError, match="No space"):
        bundle(models.onnx, tmp_path / "late")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full"]


def test_what_a_killed_process_left_is_put_away(models: SimpleNamespace, tmp_path: Path) -> None:
    """A half bundle beside the output goes with the next one; that of a living process stays."""
    for process in (2**22 + 1, os.getppid()):  # no process has the first number
        (tmp_path / f".out.{process}.tmp" / "artifact").mkdir(parents=True)
    bundle(models.onnx, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".out.{os.getppid()}.tmp", "out"]


def _script(folder: Path) -> Any:
    """The bundle's own copy of the script as a module."""
    spec = importlib.util.spec_from_file_location(
        "shipped_build_engine", folder / "build" / "build_engine.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build(
    folder: Path, version: str, out: Path, monkeypatch: pytest.MonkeyPatch, *words: str, **fake: Any
) -> tuple[int, Any]:
    """Run a bundle's script against a fake TensorRT; gives the exit code and the fake."""
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    trt = fake_target.module(version, inputs, **fake)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    script = _script(folder)
    monkeypatch.setattr(script, "describe_gpu", lambda: GPU)
    return script.main(["--out", str(out), *words]), trt


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_the_script_builds_a_typed_engine(
    version: str, models: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed network, the bundle's profiles, no precision flag; the result is an artifact with a passport."""
    folder = bundle(models.half, tmp_path / "review", target=Target(PROFILES))
    code, trt = _build(folder, version, tmp_path / "engine", monkeypatch, "--workspace", "512")
    assert code == 0
    calls = trt.seen
    assert calls["network"] == 1 << 1
    assert calls["flags"] == set()
    assert calls["cleared"] == {"TF32"}
    assert calls["preview"] == ({"PROFILE_SHARING_0806"} if version.startswith("10.") else set())
    assert calls["pool"] == ("WORKSPACE", 512 << 20)
    assert Path(calls["parsed"]) == folder / "artifact" / "model.onnx"
    assert calls["config"].given == {"profiling_verbosity": 2, "builder_optimization_level": 3}
    assert [shapes["input_ids"] for shapes in calls["profiles"]] == [
        ((1, 1), (4, 16), (8, 16)),
        ((1, 17), (4, 32), (8, 32)),
    ]
    assert all(len(shapes) == 3 for shapes in calls["profiles"])
    engine = Artifact.open(tmp_path / "engine")
    assert engine.kind == "tensorrt"
    assert [step.stage for step in engine.manifest.lineage] == ["half_precision", "build-tensorrt"]
    assert engine.manifest.parent == models.half.id
    assert engine.manifest.lineage[-1].id == engine.id
    written = passport.read(engine)
    assert (written.tensorrt, written.typing, written.precision) == (version, "strong", "fp16")
    assert written.gpu is not None
    assert written.gpu.name == "NVIDIA Test"
    assert written.source_id == models.half.id
    assert written.onnx_sha256 == models.half.manifest.files["model.onnx"].sha256
    assert [str(profile) for profile in written.profiles] == list(PROFILES)
    assert written.options.workspace_bytes == 512 << 20
    assert passport.engine(engine, written) == fake_target.ENGINE
    assert (engine.path / "tokenizer.json").is_file()
    assert json.loads(engine.file("inspector.json").read_text()) == {"Layers": []}
    assert written.timing_cache == hashlib.sha256(b"new timings").hexdigest()
    assert (folder / "triton/review/1/model.plan").read_bytes() == fake_target.ENGINE
    assert sums.verify(folder).id == models.half.id, "the engine is the one file that may come later"
    config = model_config((folder / "triton/review/config.pbtxt").read_text())
    assert (config.backend, config.max_batch_size, list(config.input)) == ("tensorrt", 8, [])
    assert list(config.instance_group[0].profile) == ["0", "1"]
    assert config.instance_group[0].kind == 1
    handed = bundle(engine, tmp_path / "second", name="again")
    assert (handed / "triton/again/1/model.plan").read_bytes() == fake_target.ENGINE
    assert "no other" in (handed / "README.md").read_text()


@pytest.mark.parametrize(
    ("graph", "words", "flags", "precision"),
    [
        ("onnx", (), set(), "fp32"),
        ("onnx", ("--fp16",), {"FP16"}, "fp16"),
        ("old", (), {"FP16", "INT8"}, "int8"),
    ],
)
def test_the_script_knows_tensorrt_8(
    graph: str,
    words: tuple[str, ...],
    flags: set[str],
    precision: str,
    models: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There the batch is made explicit, and precision is what the builder may choose."""
    folder = bundle(getattr(models, graph), tmp_path / "review", target=Target(PROFILES))
    code, trt = _build(folder, "8.6.0", tmp_path / "engine", monkeypatch, *words)
    assert code == 0
    assert trt.seen["network"] == 1 << 0
    assert trt.seen["preview"] == {"PROFILE_SHARING_0806"}
    assert trt.seen["flags"] == flags
    written = passport.read(Artifact.open(tmp_path / "engine"))
    assert (written.typing, written.precision) == ("flags", precision)


@pytest.mark.parametrize(
    ("graph", "version", "words", "reason"),
    [
        ("half", "8.6.0", (), "TensorRT 8.6.0 has no typed networks, and this graph is typed"),
        ("int8", "8.6.0", (), "reads opsets up to 17, and this graph has 19"),
        ("onnx", "11.4.0", ("--fp16",), "takes precision from the graph: leave --fp16 out"),
    ],
)
def test_the_script_refuses_what_cannot_be(
    graph: str,
    version: str,
    words: tuple[str, ...],
    reason: str,
    models: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One sentence, exit code 2, no folder."""
    folder = bundle(getattr(models, graph), tmp_path / "review", target=Target(PROFILES))
    code, trt = _build(folder, version, tmp_path / "engine", monkeypatch, *words)
    assert code == 2
    assert reason in capsys.readouterr().err
    assert "network" not in trt.seen
    assert not (tmp_path / "engine").exists()


def test_the_script_leaves_nothing_half_built(
    models: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A refused graph, no engine, no GPU, an old GPU, a changed bundle, a full folder: one sentence."""
    folder = bundle(models.half, tmp_path / "review", target=Target(PROFILES))
    out = tmp_path / "engine"
    for fake, reason in (
        ({"takes": False}, "TensorRT does not take the graph: no importer for node Magic"),
        ({"builds": False}, "TensorRT built no engine"),
    ):
        assert _build(folder, "10.1.0", out, monkeypatch, **fake)[0] == 2
        assert reason in capsys.readouterr().err
    script = _script(folder)
    plan = json.loads((folder / "build/plan.json").read_text())
    with pytest.raises(script.Refused, match=r"FP8 needs compute capability 8\.9, and Old has 8\.6"):
        script.refuse(
            fake_target.module("10.1.0", []),
            {**plan, "precision": "fp8"},
            {"name": "Old", "compute_capability": "8.6"},
            False,
        )
    monkeypatch.setattr(script, "describe_gpu", lambda: None)
    assert script.main(["--out", str(out)]) == 2
    assert "this machine shows no NVIDIA GPU" in capsys.readouterr().err
    (folder / "artifact" / "model.onnx").write_bytes(b"other")
    assert _build(folder, "10.1.0", out, monkeypatch)[0] == 2
    assert "model.onnx was changed since the bundle was made" in capsys.readouterr().err
    assert not out.exists()
    out.mkdir()
    (out / "mine").write_text("x")
    assert _build(folder, "10.1.0", out, monkeypatch)[0] == 2
    assert "holds something already" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_timings_of_earlier_builds_go_along(
    models: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole caches are carried and tried in turn, a fresh one last; a damaged one stays behind."""
    from deploy.tensorrt import timing

    files = [tmp_path / f"{name}.timing" for name in ("a", "b", "c")]
    timing.write(files[0], b"of another GPU")
    timing.write(files[1], b"of this GPU")
    files[2].write_bytes(b"damaged")
    folder = bundle(models.half, tmp_path / "review", target=Target(PROFILES, timings=tuple(files)))
    code, trt = _build(folder, "10.1.0", tmp_path / "engine", monkeypatch)
    assert code == 0
    assert trt.seen["timings"] == [b"of another GPU", b"of this GPU"]


def test_profiles_come_from_the_rows(models: SimpleNamespace, tmp_path: Path) -> None:
    """Buckets of the rows' lengths and the rest up to the limit; without either it is refused."""
    folder = bundle(models.half, tmp_path / "review", target=Target(rows=ROWS))
    plan = json.loads((folder / "build/plan.json").read_text())
    spans = [profile["axes"]["length"] for profile in plan["profiles"]]
    assert spans[0]["min"] == 1
    assert spans[-1]["max"] == 32
    assert [span["min"] for span in spans[1:]] == [span["max"] + 1 for span in spans[:-1]]
    with pytest.raises(UserError, match="profiles are made from the lengths of training rows, and there are"):
        bundle(models.half, tmp_path / "none", target=Target())
    with pytest.raises(UserError, match="goes up to length 64, and the graph takes at most 32"):
        bundle(models.half, tmp_path / "none", target=Target(("batch=1:1:1,length=1:64:64",)))
    with pytest.raises(UserError, match=r"leave out .* rows"):
        bundle(models.half, tmp_path / "none", target=Target(("batch=1:1:1,length=1:3:3",), rows=ROWS))
    for source, reason in ((models.torch, "from an ONNX artifact"), (models.cpu, "is INT8 for CPUs")):
        with pytest.raises(UserError, match=reason):
            bundle(source, tmp_path / "none", target=Target(PROFILES))
    assert not (tmp_path / "none").exists()


def test_the_script_runs_on_an_old_python_with_nothing_else() -> None:
    """Its syntax is Python 3.8's and it imports the standard library, and TensorRT when it builds."""
    tree = ast.parse(Path(build_engine.__file__).read_text(), feature_version=(3, 8))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }  # fmt: skip
    assert names <= set(sys.stdlib_module_names)
    newer = {"removeprefix", "removesuffix", "file_digest", "is_relative_to", "UTC"}
    assert not newer & {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not [k for n in ast.walk(tree) if isinstance(n, ast.Call) for k in n.keywords if k.arg == "strict"]


def test_given_profiles_are_compared_with_the_data(
    models: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --data, and with the data that the artifact names; where only that is gone, it is said."""

    def call(artifact: Path, out: str, *words: object) -> tuple[int, str]:
        options = ("--build-on-target", "--profile", "batch=1:1:1,length=1:3:3", *words)
        try:
            main(["bundle", str(artifact), "--out", str(tmp_path / out), *map(str, options)])
        except SystemExit as left:
            code = int(left.code or 0)
        else:
            code = 0
        return code, " ".join(capsys.readouterr().err.split())

    data = tmp_path / "data"
    data.mkdir()
    lines = [f"{'good film ' * 5}{number},positive\n" for number in range(40)]
    (data / "train.csv").write_text("text,label\n" + "".join(lines) + "bad film,negative\n" * 5)
    code, message = call(models.onnx.path, "given", "--data", data)
    assert (code, "leave out" in message) == (2, True), message
    named = tmp_path / "named"
    shutil.copytree(models.onnx.path, named)
    origin = models.onnx.manifest.origin.model_copy(update={"data": {"source": str(data)}})
    artifacts.write_manifest(named, models.onnx.manifest.model_copy(update={"origin": origin}))
    code, message = call(named, "recorded")
    assert (code, "leave out" in message) == (2, True), message
    shutil.rmtree(data)
    code, message = call(named, "gone")
    assert (code, "the profiles are not compared with the lengths of any rows" in message) == (0, True), (
        message
    )
    assert (tmp_path / "gone" / "build" / "plan.json").is_file()


def test_the_verb(models: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: made, verified, predicted with; options that do not go together are refused."""

    def call(*words: object) -> tuple[int, str, str]:
        try:
            main([str(word) for word in words])
        except SystemExit as left:
            code = int(left.code or 0)
        else:
            code = 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    out = tmp_path / "handed"
    words = ("--build-on-target", "--profile", PROFILES[1], "--json")
    code, text, _ = call("bundle", models.onnx.path, "--out", out, *words)
    assert code == 0
    assert json.loads(text) == {"path": str(out), "id": models.onnx.id, "built_on_target": True}
    code, text, _ = call("verify", out, "--json")
    assert code == 0
    assert json.loads(text)["id"] == models.onnx.id
    assert call("predict", out / "artifact", "a lovely film", "--threads", 1)[0] == 0
    code, _, err = call("bundle", models.onnx.path, "--out", tmp_path / "b", "--profile", PROFILES[0])
    assert (code, "give --build-on-target" in err) == (2, True)
    code, _, err = call("bundle", models.onnx.path, "--out", tmp_path / "b", "--build-on-target")
    assert (code, "give --data, or --profile" in " ".join(err.split())) == (2, True)
    (out / "README.md").write_text("x")
    code, _, err = call("verify", out)
    assert (code, "changed README.md" in " ".join(err.split())) == (2, True)
