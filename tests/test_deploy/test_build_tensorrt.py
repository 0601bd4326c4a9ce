"""The stage and the verb ``build``: what the builder is told, what is kept, what is refused and how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_tensorrt
import pytest
import tiny
import tiny_deploy

from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.errors import MissingPiece, ModelError, UserError
from compress.pipeline import building, planning
from deploy.tensorrt import binding, gpu, passport, precision, timing
from deploy.tensorrt.passport import BuildOptions

PROFILE = "batch=1:2:4,length=1:16:32"
QUERY = "/model/bert/encoder/layer.0/attention/self/query/MatMul"
REPORT = {
    "Layers": [
        {
            "Name": QUERY,
            "LayerType": "gemm",
            "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [],
        },
        {
            "Name": "_gemm_mha_v2_0",
            "LayerType": "kgen",
            "Inputs": [{"Name": "q", "Format/Datatype": "Row major linear FP16"}],
            "Outputs": [],
        },
    ],
    "Bindings": ["input_ids", "logits"],
}
ROWS = tiny_deploy.text_rows(24)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A tiny text classifier as an FP32 graph."""
    folder = tmp_path_factory.mktemp("exported")
    torch = tiny_deploy.text_artifact(folder / "torch")
    return tiny_deploy.run("export_onnx", torch, folder / "onnx", ROWS).artifact


@pytest.fixture(scope="module")
def quantized(exported: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Its INT8 graph for TensorRT, everything quantized but the head."""
    folder = tmp_path_factory.mktemp("quantized")
    options = {
        "mode": "static",
        "target": "tensorrt",
        "keep_float": "none",
        "tame": False,
        "ranges": "minmax",
    }
    return tiny_deploy.run("quantize_onnx", exported, folder / "int8", ROWS, **options).artifact


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Run the command line in this process; gives exit code, stdout and stderr."""
    from paredown.app import main

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capfd.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def _install(monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> ModuleType:
    trt = fake_tensorrt.module(*args, **kwargs)
    fake_tensorrt.install(monkeypatch, trt)
    return trt


# --- What the builder is told --------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["10.16.1", "11.4.0"])
def test_typed_networks_take_no_precision_flags(
    version: str, exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network is strongly typed, TF32 is off unless asked for, layers are kept for the inspector."""
    trt = _install(monkeypatch, version, REPORT)
    tiny_deploy.run("build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,))
    tiny_deploy.run("build_tensorrt", exported, tmp_path / "b", ROWS, profiles=(PROFILE,), precision="tf32")
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    first, second = trt.built
    assert (first["network"], first["flags"]) == (typed, [])
    assert (second["network"], second["flags"]) == (typed, ["TF32"])
    assert first["verbosity"] == "DETAILED"
    assert first["profiles"][0]["input_ids"] == ((1, 1), (2, 16), (4, 32))
    assert set(first["profiles"][0]) == {"input_ids", "attention_mask", "token_type_ids"}


def test_tensorrt_8_takes_the_float_graph_and_flags(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explicit batch, FP16 by flag, the graph as it was exported."""
    trt = _install(monkeypatch, "8.6.0", REPORT)
    ran = tiny_deploy.run(
        "build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,), precision="fp16"
    )
    assert trt.built[0]["network"] == 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    assert trt.built[0]["flags"] == ["FP16"]
    record = passport.read(ran.artifact)
    assert (record.typing, record.precision) == ("flags", "fp16")
    assert record.onnx_sha256 == exported.manifest.files["model.onnx"].sha256
    # The product that ran in FP32 all the same is said.
    assert f"FP16 was asked for and {QUERY} ran in FP32" in record.findings


def test_a_half_graph_is_made_where_networks_are_typed(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the stage half-precision, with its guard and its parity check recorded."""
    _install(monkeypatch, "11.4.0", REPORT)
    ran = tiny_deploy.run(
        "build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,), precision="fp16"
    )
    record = passport.read(ran.artifact)
    assert record.precision == "fp16"
    assert record.onnx_sha256 != exported.manifest.files["model.onnx"].sha256
    assert ran.facts["parity"]["by"] == "onnx.reference"
    assert ran.facts["fused_attention"] == "1 of 2 blocks"
    assert "1 of 2 attention blocks run as one fused kernel" in record.findings
    assert {"layer": QUERY, "type": "gemm", "precision": "fp32", "fused attention": ""} in ran.facts["layers"]


def test_every_option_reaches_the_builder(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags, workspace, level, hardware compatibility; and the passport records them."""
    trt = _install(monkeypatch, "10.16.1", REPORT)
    options = {
        "builder_optimization_level": 5,
        "workspace_bytes": 1 << 30,
        "hardware_compatibility": "ampere_plus",
        "version_compatible": True,
        "refit": True,
        "weight_streaming": True,
        "strip_plan": True,
    }
    ran = tiny_deploy.run("build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,), **options)
    built = trt.built[0]
    assert built["flags"] == ["REFIT", "STRIP_PLAN", "VERSION_COMPATIBLE", "WEIGHT_STREAMING"]
    assert (built["workspace"], built["level"], built["hardware"]) == (1 << 30, 5, "AMPERE_PLUS")
    record = passport.read(ran.artifact)
    assert record.options == BuildOptions(**options)
    assert record.layers is not None  # a version-compatible engine opens only where its own code is allowed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strip_plan": True}, "strip_plan was asked for and TensorRT 8.6.0 does not have it"),
        ({"weight_streaming": True}, "weight_streaming was asked for and TensorRT 8.6.0 does not have it"),
        (
            {"hardware_compatibility": "same_compute_capability"},
            "same_compute_capability was asked for and TensorRT 8.6.0 has ampere_plus, none",
        ),
        ({"compute_capabilities": ("8.9",)}, "TensorRT 8.6.0 builds for the GPU at hand"),
        ({"precision": "bf16"}, "TensorRT 8.6.0 has no BF16: use fp16, or int8"),
        ({"precision": "fp8"}, "TensorRT 8.6.0 has no FP8"),
        ({"precision": "int8"}, "INT8 was asked for and the graph is FP32"),
    ],
)
def test_what_a_version_lacks_is_refused_with_the_reason(
    options: Any, sentence: str, exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is built."""
    trt = _install(monkeypatch, "8.6.0", REPORT)
    with pytest.raises(UserError, match=sentence):
        tiny_deploy.run("build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,), **options)
    assert trt.built == []


def test_a_gpu_that_lacks_a_precision_is_named(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BF16 on Turing, with what it needs and what to use."""
    trt = fake_tensorrt.module("10.16.1", REPORT)
    turing = fake_tensorrt.H200.model_copy(update={"name": "Tesla T4", "compute_capability": "7.5"})
    fake_tensorrt.install(monkeypatch, trt, turing)
    with pytest.raises(
        UserError, match=r"BF16 needs compute capability 8.0 or later, and this GPU \(Tesla T4\)"
    ):
        tiny_deploy.run(
            "build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,), precision="bf16"
        )
    assert precision.refuse(None, "fp8", "tensorrt", fake_tensorrt.can(), {"an L4": "8.9"}) is None
    assert precision.refuse(None, "fp8", "tensorrt", fake_tensorrt.can(), {}) is None
    assert "FP8 needs compute capability 8.9 or later" in str(
        precision.refuse(None, "fp8", "tensorrt", fake_tensorrt.can(), {"an L4": "8.9", "an A10": "8.6"})
    )


@pytest.mark.parametrize(
    ("engine_precision", "graph_precision", "version", "sentence"),
    [
        (None, "int8", "10.16.1", None),
        ("fp16", "int8", "10.16.1", None),
        ("fp16", "fp32", "8.6.0", None),
        ("fp8", "fp16", "11.4.0", "FP8 was asked for and the graph is FP16"),
        ("tf32", "fp16", "11.4.0", "build what export-onnx made"),
        ("bf16", "fp16", "11.4.0", "build what export-onnx made with --precision bf16"),
        (None, "fp16", "8.6.0", "has no typed networks: build the FP32 graph with --precision fp16"),
        ("fp8", "fp8", "8.6.0", "it is FP8, and TensorRT 8.6.0 has no typed networks"),
    ],
)
def test_which_precision_comes_from_which_graph(
    engine_precision: Any, graph_precision: str, version: str, sentence: str | None
) -> None:
    """What can be had, and for the rest the command that helps."""
    refusal = precision.refuse(engine_precision, graph_precision, "tensorrt", fake_tensorrt.can(version), {})
    assert refusal is None if sentence is None else sentence in str(refusal)


def test_flags_are_for_tensorrt_8_alone() -> None:
    """INT8 comes with FP16 around it; typed networks take none."""
    old, new = fake_tensorrt.can("8.6.0"), fake_tensorrt.can("10.16.1")
    assert precision.flags("fp16", "fp32", old) == {"fp16"}
    assert precision.flags(None, "fp32", old) == set()
    assert precision.flags("int8", "int8", old) == precision.flags(None, "int8", old) == {"fp16", "int8"}
    assert precision.flags("fp16", "int8", new) == set()


def test_int8_that_ran_in_fp32_is_shown(
    quantized: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding is in the passport, in the manifest's facts and on stderr."""
    _install(monkeypatch, "10.16.1", REPORT)
    ran = tiny_deploy.run("build_tensorrt", quantized, tmp_path / "a", ROWS, profiles=(PROFILE,))
    sentence = f"INT8 was asked for and {QUERY} ran in FP32"
    assert sentence in passport.read(ran.artifact).findings
    assert sentence in ran.facts["findings"]
    assert ran.facts["layer_precisions"] == {"fp16": 1, "fp32": 1}


def test_int8_on_tensorrt_8_wants_an_older_opset(
    quantized: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed scales came later than its parser: the command that makes FP32 scales."""
    _install(monkeypatch, "8.6.0", REPORT)
    with pytest.raises(ModelError, match=r"reads opset 17 and below; quantize it with .* --set opset=17"):
        tiny_deploy.run("build_tensorrt", quantized, tmp_path / "a", ROWS, profiles=(PROFILE,))


def test_an_engine_that_does_not_open_again_says_so(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No layers, with the reason; nothing is made up."""
    _install(monkeypatch, "10.16.1", None)
    ran = tiny_deploy.run("build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,))
    record = passport.read(ran.artifact)
    assert (record.layers, record.fused_attention, record.findings) == (None, None, ())
    assert "did not open" in str(record.layers_missing)


@pytest.mark.parametrize(
    ("logged", "sentence"),
    [
        ("Error Code 2: OutOfMemory (no memory)", "too little free memory: lower the largest sizes"),
        ("Error Code 10: Could not find any implementation for node X", "node X.*--optimization-level"),
    ],
)
def test_a_build_that_fails_tells_what_tensorrt_said(
    logged: str, sentence: str, exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence with its own words and a remedy."""
    _install(monkeypatch, "10.16.1", REPORT, refuses=logged)
    with pytest.raises(UserError, match=sentence):
        tiny_deploy.run("build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,))


# --- Timings -------------------------------------------------------------------------------------------


def test_timings_are_kept_between_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Artifact
) -> None:
    """The second build starts from the first one's; a damaged or foreign file is no error."""
    trt = _install(monkeypatch, "10.16.1", REPORT)
    store = Store(tmp_path / "store")

    def build(level: int) -> Artifact:
        options = {"profiles": [PROFILE], "builder_optimization_level": level}
        return building.run_stage("build-tensorrt", exported.path, options=options, store=store)

    first = passport.read(build(1))
    (file,) = fake_tensorrt.timing_files(store.root)
    build(2)
    assert [engine["timings"] for engine in trt.built] == ["", "+timed"]
    assert first.timing_cache == hashlib.sha256(b"+timed").hexdigest()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"?")
    build(3)
    assert trt.built[-1]["timings"] == ""
    timing.write(file, b"of another GPU")
    build(4)
    assert trt.built[-1]["timings"] == ""
    file.unlink()
    build(5)
    assert trt.built[-1]["timings"] == ""
    assert store.cache("build-tensorrt") in [file.parent for file in fake_tensorrt.timing_files(store.root)]
    removed = store.prune(everything=True)
    assert store.root / "caches" in removed
    assert fake_tensorrt.timing_files(store.root) == []


def test_timings_of_another_gpu_or_version_are_another_file(tmp_path: Path) -> None:
    """One file for each TensorRT and GPU."""
    files = {
        timing.file(tmp_path, flavor, version, name, capability)
        for flavor in ("tensorrt", "tensorrt-rtx")
        for version in ("10.16.1", "11.4.0")
        for name, capability in (("A", "8.0"), ("B", "8.0"), ("A", "9.0"))
    }
    assert len(files) == 12
    assert timing.read(None) == timing.read(tmp_path / "none") == b""


# --- The key, and machines without a GPU ---------------------------------------------------------------


def test_the_key_holds_gpu_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Artifact
) -> None:
    """The same build is reused; another TensorRT or another GPU builds anew."""
    store = Store(tmp_path / "store")

    def build() -> str | None:
        engine = building.run_stage(
            "build-tensorrt", exported.path, options={"profiles": [PROFILE]}, store=store
        )
        return engine.manifest.key

    _install(monkeypatch, "10.16.1", REPORT)
    first = build()
    assert build() == first
    _install(monkeypatch, "10.17.0", REPORT)
    second = build()
    h100 = fake_tensorrt.H200.model_copy(update={"name": "NVIDIA H100"})
    fake_tensorrt.install(monkeypatch, fake_tensorrt.module("10.16.1", REPORT), h100)
    third = build()
    assert len({first, second, third}) == 3


def test_without_a_gpu_the_answer_is_one_sentence(
    call: Call, exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2, with the two ways out; nothing is written."""
    monkeypatch.setattr(gpu, "describe", lambda index=0: None)
    monkeypatch.setattr(gpu, "count", lambda: 0)
    code, text, err = call("build", exported.path, "--precision", "fp16", "--out", tmp_path / "never")
    message = " ".join(err.split())
    assert code == 2
    assert "this machine shows no NVIDIA GPU" in message
    assert "paredown bundle ONNX --build-on-target" in message
    assert "--flavor tensorrt-rtx" in message
    assert (text, (tmp_path / "never").exists()) == ("", False)
    assert "Traceback" not in err


def test_a_recipe_is_refused_before_an_hour_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that cannot run on this machine is noticed before the first one starts."""
    import compress

    monkeypatch.setattr(gpu, "describe", lambda index=0: None)
    monkeypatch.setattr(gpu, "count", lambda: 0)
    recipe = tmp_path / "recipe.yaml"
    model, data = tiny.text_model(tmp_path / "model"), tiny.text_data(tmp_path / "data")
    stages = "stages: [export-onnx: {}, build-tensorrt: {}]"
    recipe.write_text(f"model: {model}\ndata: {{source: {data}}}\n{stages}\n")
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match="shows no NVIDIA GPU"):
        compress.run(compress.read(str(recipe)), out=tmp_path / "run", store=store)
    assert not store.root.exists()
    # What another machine shall run is planned all the same.
    planned = planning.plan(compress.read(str(recipe)), store)
    assert [step.label for step in planned] == ["load", "export-onnx", "build-tensorrt"]
    assert not planned[-1].ready


def test_another_gpu_number_is_refused(
    exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how many there are."""
    _install(monkeypatch, "10.16.1", REPORT)
    with pytest.raises(UserError, match="GPU 3 was asked for; this machine has 1, numbered from 0"):
        tiny_deploy.run("build_tensorrt", exported, tmp_path / "a", ROWS, profiles=(PROFILE,), gpu=3)


def test_a_tensorrt_that_is_missing_or_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that installs it; a library that does not load is another sentence."""
    import sys

    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MissingPiece, match=r"tensorrt is needed here and is not installed: run pip install"):
        binding.load("tensorrt")
    assert binding.here("tensorrt").tensorrt is None
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open')")
    with pytest.raises(
        MissingPiece, match=r"does not load \(libnvinfer.so.10: cannot open\).*paredown doctor"
    ):
        binding.load("tensorrt")


def test_the_verb_builds_and_show_prints_the_passport(
    call: Call, exported: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Layers with their precisions, fused attention, profiles, the GPU, and the command that rebuilds it."""
    trt = _install(monkeypatch, "10.16.1", REPORT)
    words = ("--profile", PROFILE, "--workspace", "64", "--optimization-level", "4", "--set", "refit=true")
    code, text, err = call("build", exported.path, *words, "--out", tmp_path / "engine", "--json")
    assert code == 0, err
    assert json.loads(text)["kind"] == "tensorrt"
    assert (trt.built[0]["workspace"], trt.built[0]["level"], trt.built[0]["flags"]) == (
        64 << 20,
        4,
        ["REFIT"],
    )
    monkeypatch.setenv("COLUMNS", "200")
    code, text, err = call("show", tmp_path / "engine")
    assert code == 0, err
    table = " ".join(text.split())
    for part in (
        "tensorrt 10.16.1, for NVIDIA H200, compute capability 9.0, driver 580.10, CUDA 13.0",
        f"profiles {PROFILE}",
        "fused_attention 1 of 2 blocks",
        "layer type precision fused attention",
        "_gemm_mha_v2_0 kgen fp16 yes",
        f"{QUERY} gemm fp32",
        f"paredown build ONNX --profile {PROFILE}",
    ):
        assert part in table, part
    code, text, err = call("show", "build-tensorrt")
    assert code == 0
    assert "builder_optimization_level" in text


def test_the_stand_in_has_only_declared_names() -> None:
    """So that what passes with it can exist with the real module."""
    from deploy.tensorrt import names

    for version in ("8.6.0", "10.16.1", "11.4.0"):
        trt = fake_tensorrt.module(version)
        classes = {name for name in vars(trt) if not name.startswith("_") and name != "built"}
        assert classes <= {owner.split(".")[0] for owner in names.USED}
        for name in classes:
            members = {member for member in vars(getattr(trt, name)) if not member.startswith("_")}
            if name in ("NetworkDefinitionCreationFlag", "HardwareCompatibilityLevel", "BuilderFlag"):
                members = set(getattr(trt, name).__members__)
            assert members - {"name", "value"} <= names.USED[name].keys(), name
