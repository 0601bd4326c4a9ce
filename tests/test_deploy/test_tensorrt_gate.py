"""The compile gate: NVIDIA's parser and compiler take every graph that the shipped recipes' stages make.

TensorRT-RTX compiles on a CPU. Here it does so through the project's own stage, on tiny models whose
graphs have the operators of the real ones. To add a graph, add a line to ``CHAINS``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_deploy

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.tensorrt import asked, passport

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(os.environ.get("PAREDOWN_TENSORRT_BINDINGS", ROOT / ".ci-bindings")) / "rtx"

Step = tuple[str, dict[str, Any]]
# What takes time in quantization chooses which products stay float; the gate wants the most quantized graph.
STATIC = {"mode": "static", "target": "tensorrt", "keep_float": "none", "tame": False, "ranges": "minmax"}
INT8: Step = ("quantize_onnx", STATIC)
FP8: Step = ("quantize_onnx", {"precision": "fp8", **STATIC})
FP16: Step = ("half_precision", {"precision": "fp16"})
BF16: Step = ("half_precision", {"precision": "bf16"})

# Name -> model, options of the export, stages after it, precision of the build.
CHAINS: dict[str, tuple[str, dict[str, Any], list[Step], str | None]] = {
    "fp32": ("text", {}, [], None),
    "tf32": ("text", {}, [], "tf32"),
    "fp32-opset-20": ("text", {"opset": 20}, [], None),
    "fp32-dynamo": ("text", {"exporter": "dynamo", "opset": 18}, [], None),
    "fp16": ("text", {}, [FP16], None),
    "fp16-by-the-build": ("text", {}, [], "fp16"),
    "bf16": ("text", {}, [BF16], None),
    "int8": ("text", {}, [INT8], None),
    "int8-with-head": ("text", {}, [("quantize_onnx", {**STATIC, "head": True})], "int8"),
    "int8-fp16": ("text", {}, [INT8, FP16], None),
    "int8-fp16-by-the-build": ("text", {}, [INT8], "fp16"),
    "fp8": ("text", {}, [FP8], None),
    "fp8-fp16": ("text", {}, [FP8, FP16], "fp8"),
    "pruned-fp16": ("pruned", {}, [FP16], None),
    "pruned-int8-fp16": ("pruned", {}, [INT8, FP16], None),
    "tokens-fp16": ("tokens", {}, [FP16], None),
    "images-fp16": ("images", {}, [FP16], None),
    "images-int8": ("images", {}, [INT8], None),
}


@pytest.fixture(autouse=True)
def _rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real TensorRT-RTX, or a skip that says what is missing."""
    if not (FOLDER / "tensorrt_rtx_bindings").is_dir():
        pytest.skip(f"no TensorRT-RTX in {FOLDER}: .ci/run installs it where the registry has it")
    monkeypatch.syspath_prepend(str(FOLDER))


def _pruned(folder: Path) -> Artifact:
    """A text classifier with one head and a part of the FFN removed in one layer, as ``prune`` leaves it."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from compress.model import checkpoint

    source = tiny_deploy.text_artifact(folder.with_name("whole"), heads=4, hidden=32)
    model = AutoModelForSequenceClassification.from_pretrained(source.path)
    layer = model.bert.encoder.layer[0]
    with torch.no_grad():
        for linear in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value):
            linear.weight = torch.nn.Parameter(linear.weight[:24].clone())
            linear.bias = torch.nn.Parameter(linear.bias[:24].clone())
            linear.out_features = 24
        out = layer.attention.output.dense
        out.weight = torch.nn.Parameter(out.weight[:, :24].clone())
        out.in_features = 24
        layer.intermediate.dense.weight = torch.nn.Parameter(layer.intermediate.dense.weight[:40].clone())
        layer.intermediate.dense.bias = torch.nn.Parameter(layer.intermediate.dense.bias[:40].clone())
        layer.intermediate.dense.out_features = 40
        layer.output.dense.weight = torch.nn.Parameter(layer.output.dense.weight[:, :40].clone())
        layer.output.dense.in_features = 40
    layer.attention.self.num_attention_heads = 3
    layer.attention.self.all_head_size = 24
    folder.mkdir()
    checkpoint.save(model, folder, source=source.path)
    checkpoint.copy_sidecars(source.path, folder)
    return tiny_deploy.seal(folder)


def _text_rows() -> list[dict[str, Any]]:
    return tiny_deploy.text_rows(16)


def _image_rows() -> list[dict[str, Any]]:
    import numpy as np

    draws = np.random.default_rng(0).integers(0, 256, size=(16, 8, 8), dtype=np.uint8)
    return [{"image": image} for image in draws]


MODELS: dict[str, tuple[Callable[[Path], Artifact], Callable[[], list[dict[str, Any]]]]] = {
    "text": (tiny_deploy.text_artifact, _text_rows),
    "pruned": (_pruned, _text_rows),
    "tokens": (
        tiny_deploy.token_artifact,
        lambda: [{"tokens": row["text"].split()} for row in _text_rows()],
    ),
    "images": (tiny_deploy.image_artifact, _image_rows),
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Artifact, list[dict[str, Any]]]]:
    """Makes the graph of a chain; what chains have in common is made once."""
    folder = tmp_path_factory.mktemp("graphs")
    artifacts: dict[str, Artifact] = {}

    def make(model: str, export: dict[str, Any], steps: list[Step]) -> tuple[Artifact, list[dict[str, Any]]]:
        builder, rows = MODELS[model]
        examples = rows()
        if model not in artifacts:
            artifacts[model] = builder(folder / model)
        source, name = artifacts[model], model
        for stage, options in [("export_onnx", export), *steps]:
            fields = tiny_deploy.stage(stage).Config.model_fields
            unknown = options.keys() - fields.keys()
            if unknown:
                pytest.skip(f"{stage} has no {', '.join(sorted(unknown))} in this version")
            name += f"-{stage}-{'-'.join(f'{key}={value}' for key, value in sorted(options.items()))}"
            if name not in artifacts:
                artifacts[name] = tiny_deploy.run(stage, source, folder / name, examples, **options).artifact
            source = artifacts[name]
        return source, examples

    return make


@pytest.mark.parametrize("name", CHAINS)
def test_the_compiler_takes_it(name: str, graphs: Any, tmp_path: Path) -> None:
    """It parses and compiles; the engine's passport says what it is, and its folder can be used alone."""
    model, export, steps, precision = CHAINS[name]
    source, rows = graphs(model, export, steps)
    options: dict[str, Any] = {} if precision is None else {"precision": precision}
    if model != "images" and name != "fp16":  # one chain takes its profiles from the rows' lengths
        options["profiles"] = ("batch=1:2:4,length=1:16:32",)
    ran = tiny_deploy.run(
        "build_tensorrt", source, tmp_path / "engine", rows, flavor="tensorrt-rtx", **options
    )
    engine = ran.artifact
    record = passport.read(engine)
    assert engine.kind == "tensorrt"
    assert record.engine_bytes == engine.file(passport.ENGINE).stat().st_size > 100_000
    assert passport.engine(engine, record)
    assert (record.flavor, record.typing, record.gpu) == ("tensorrt-rtx", "strong", None)
    expected = (
        precision if precision in ("fp16", "bf16") and not steps else graph_facts.read(source).precision
    )
    assert graph_facts.read(engine).precision == expected
    assert record.precision == ("tf32" if precision == "tf32" else expected)
    assert ran.facts["profiles"] == [str(profile) for profile in record.profiles]
    encoder = Encoder.open(engine.path, catalog.load("task", engine.task))
    feed = encoder.feed(rows[:3])
    assert set(record.profiles[0].inputs) == set(feed)


def test_both_attentions_of_a_pruned_graph_are_seen(graphs: Any) -> None:
    """Three heads of eight in one layer, four in the other: two attention blocks, 2 x 6 + 2 products."""
    source, _ = graphs("pruned", {}, [FP16])
    model = graph.load(source.file(graph_facts.MODEL))
    assert asked.attention_blocks(model) == 2
    products = asked.of_products(model)
    assert len(products) == 2 * 6 + 2
    assert set(products.values()) == {"fp16"}


@pytest.mark.parametrize(
    ("steps", "quantized", "float_precision"),
    [([INT8], "int8", "fp32"), ([INT8, FP16], "int8", "fp16"), ([FP8], "fp8", "fp32")],
)
def test_what_a_quantized_graph_asks_for(
    steps: list[Step], quantized: str, float_precision: str, graphs: Any
) -> None:
    """Weight products inside Q/DQ pairs count as INT8, the head and what was left out as the rest."""
    source, _ = graphs("text", {}, steps)
    model = graph.load(source.file(graph_facts.MODEL))
    products = asked.of_products(model)
    assert set(products.values()) == {quantized, float_precision}
    assert next(value for name, value in products.items() if "classifier" in name) == float_precision
    assert asked.floats(model) == float_precision
    assert asked.attention_blocks(model) == 2


def test_an_int8_graph_for_cpus_is_refused_before_the_parser(graphs: Any, tmp_path: Path) -> None:
    """Dynamic and unsigned ranges, with the command that makes what TensorRT takes."""
    for options in ({"mode": "dynamic"}, {"mode": "static"}):
        source, rows = graphs("text", {}, [("quantize_onnx", options)])
        with pytest.raises(UserError, match=r"its INT8 is for CPUs.*--mode static --target tensorrt"):
            tiny_deploy.run("build_tensorrt", source, tmp_path / options["mode"], rows, flavor="tensorrt-rtx")


def test_what_the_real_parser_refuses_becomes_a_sentence(graphs: Any, tmp_path: Path) -> None:
    """An asymmetric zero point past our own check: node, operator, what the parser says, the remedy."""
    from deploy.tensorrt import binding, parsing, profiles

    source, _ = graphs("text", {}, [("quantize_onnx", {"mode": "static"})])
    model = graph.load(source.file(graph_facts.MODEL))
    tensorrt = binding.load("tensorrt-rtx")
    shapes = {tensor.name: ["batch", "length"] for tensor in model.graph.input}
    profile = profiles.shape(profiles.parse("batch=1:2:4,length=1:8:16"), shapes)
    request = binding.Request(options=passport.BuildOptions(), profiles=(profile,))
    with pytest.raises(binding.ParserRefusal) as refusal:
        tensorrt.compile(source.file(graph_facts.MODEL), request)
    message = parsing.explain(refusal.value.problems, model, tensorrt.can.name)
    assert "does not take QuantizeLinear '/model/bert" in message
    assert "zero point" in message
    assert "--target tensorrt" in message
    assert str(parsing.problems(model, tensorrt.can)[0]).startswith("QuantizeLinear '/model/bert")


def test_the_real_builder_reports_its_progress(graphs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar only rises, to the end; Ctrl-C while it is shown stops the build and is raised after it."""
    from deploy.tensorrt import binding, profiles

    class Bar:
        interrupt = False

        def __init__(self) -> None:
            self.steps: list[float] = []

        def advance(self, steps: float = 1, note: str = "") -> None:
            self.steps.append(steps)
            if self.interrupt:
                raise KeyboardInterrupt

    bar = Bar()

    @contextmanager
    def progress(description: str, total: float) -> Iterator[Bar]:
        assert total == 100
        yield bar

    monkeypatch.setattr("compress.log.progress", progress)
    source, _ = graphs("text", {}, [])
    model = graph.load(source.file(graph_facts.MODEL))
    shapes = {tensor.name: ["batch", "length"] for tensor in model.graph.input}
    profile = profiles.shape(profiles.parse("batch=1:2:4,length=1:16:32"), shapes)
    request = binding.Request(options=passport.BuildOptions(), profiles=(profile,))
    tensorrt = binding.load("tensorrt-rtx")
    assert len(tensorrt.compile(source.file(graph_facts.MODEL), request).plan) > 100_000
    assert min(bar.steps) >= 0
    assert len([step for step in bar.steps if step > 0]) > 10
    assert sum(bar.steps) == pytest.approx(100)
    bar.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        tensorrt.compile(source.file(graph_facts.MODEL), request)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"compute_capabilities": ("9.0",)},
            "does not compile for compute capability 9.0; it knows 7.5, 8.0",
        ),
        (
            {"precision": "bf16", "compute_capabilities": ("7.5",)},
            "BF16 needs compute capability 8.0 or later",
        ),
        ({"refit": True}, "only where a GPU is, and this machine shows none"),
        ({"precision": "int8"}, "INT8 was asked for and the graph is FP32.*--precision int8"),
        ({"profiles": ("batch=1:2:4,length=1:4:8",)}, "leave out"),
        ({"profiles": ("batch=1:2:4,length=1:16:64",)}, "up to length 64, and the graph takes at most 32"),
        ({"profiles": ("batch=1:2:4",)}, "length is missing"),
    ],
)
def test_what_cannot_be_built_is_refused(options: Any, sentence: str, graphs: Any, tmp_path: Path) -> None:
    """Before the compiler starts, with what is allowed."""
    source, rows = graphs("text", {}, [])
    with pytest.raises(UserError, match=sentence):
        tiny_deploy.run("build_tensorrt", source, tmp_path / "engine", rows, flavor="tensorrt-rtx", **options)


def test_profiles_need_rows_or_words(graphs: Any, tmp_path: Path) -> None:
    """Without data and without --profile there is nothing to go by; an explicit profile needs no data."""
    source, _ = graphs("text", {}, [])
    with pytest.raises(UserError, match="give --data, or --profile"):
        tiny_deploy.run("build_tensorrt", source, tmp_path / "a", (), flavor="tensorrt-rtx")
    ran = tiny_deploy.run(
        *("build_tensorrt", source, tmp_path / "b", ()),
        flavor="tensorrt-rtx",
        profiles=("batch=1:2:4,length=1:16:32",),
        compute_capabilities=("8.6", "8.9"),
    )
    record = passport.read(ran.artifact)
    assert [str(profile) for profile in record.profiles] == ["batch=1:2:4,length=1:16:32"]
    assert record.options.compute_capabilities == ("8.6", "8.9")
    assert "8.6, 8.9" in ran.facts["engine"]
