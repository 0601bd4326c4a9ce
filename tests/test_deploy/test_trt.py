"""The TensorRT runtime against a strict stand-in: protocol, buffers, graphs, profiles, memory, devices."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_cuda
import fake_engine
import numpy as np
import pytest
import tiny_deploy
import torch

from compress import catalog, environment
from compress.artifacts.artifact import Artifact
from compress.errors import ArtifactError, UserError
from compress.model import checkpoint
from deploy.runtimes import trt
from deploy.tensorrt import binding, gpu, layer_times, profiles
from deploy.tensorrt import engine as engines
from deploy.tensorrt import passport as passports
from deploy.tensorrt.gpu import Gpu
from deploy.tensorrt.layers import Layer
from deploy.tensorrt.passport import BuildOptions, Here, Passport

NAMES = ["input_ids", "attention_mask", "token_type_ids"]
SMALL, LARGE = ((1, 1), (4, 8), (8, 16)), ((1, 17), (4, 32), (8, 64))
HERE = Gpu(name="H200", compute_capability="9.0", memory_bytes=1, driver="580.1", cuda="13.0")
PLAN = b"plan" * 64


def feed(batch: int, length: int) -> dict[str, np.ndarray]:
    """A feed of real token ids."""
    ids = np.arange(batch * length, dtype=np.int64).reshape(batch, length) % 20 + 2
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The torch model that the stand-in computes with."""
    return tiny_deploy.text_artifact(tmp_path_factory.mktemp("source") / "torch")


@pytest.fixture(scope="module")
def compute(source: Artifact) -> fake_engine.Compute:
    """Logits of the plain model, from arrays of whatever integer type."""
    model = checkpoint.load(source.path, catalog.load("task", "text-classification"))

    def run(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            prediction = model(**{name: torch.from_numpy(a.astype(np.int64)) for name, a in arrays.items()})
        return {"logits": prediction.logits.numpy()}

    return run


@pytest.fixture(scope="module")
def artifact(source: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed engine artifact with two profiles."""
    folder = tmp_path_factory.mktemp("engine") / "engine"
    shutil.copytree(source.path, folder)
    for name in ("manifest.json", "model.safetensors"):
        (folder / name).unlink()
    (folder / passports.ENGINE).write_bytes(PLAN)
    axes = [profiles.parse("batch=1:4:8,length=1:8:16"), profiles.parse("batch=1:4:8,length=17:32:64")]
    named = dict.fromkeys(NAMES, ("batch", "length"))
    passports.write(
        folder,
        Passport(
            flavor="tensorrt",
            tensorrt="10.16.1",
            gpu=HERE,
            precision="fp16",
            typing="strong",
            options=BuildOptions(precision="fp16"),
            profiles=tuple(profiles.shape(ranges, named) for ranges in axes),
            onnx_sha256="0" * 64,
            source_id="0" * 64,
            engine_sha256=hashlib.sha256(PLAN).hexdigest(),
            engine_bytes=len(PLAN),
            build_seconds=1.0,
        ),
    )
    return tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")


@pytest.fixture
def engine(compute: fake_engine.Compute) -> fake_engine.Engine:
    """The stand-in's engine."""
    return fake_engine.Engine(compute, inputs=NAMES, outputs={"logits": ("B", 2)}, profiles=[SMALL, LARGE])


Install = Callable[..., fake_engine.Library]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts an engine behind the door to TensorRT, on a machine that seems to have an H200."""
    monkeypatch.setattr(trt, "Device", fake_cuda.Device)
    monkeypatch.setattr(environment, "resolve_device", lambda device: device)
    monkeypatch.setattr(binding, "here", lambda flavor, device: Here(flavor, "10.16.1", HERE), raising=False)

    def put(engine: fake_engine.Engine | None, **options: Any) -> fake_engine.Library:
        library = fake_engine.Library(engine, **options)
        monkeypatch.setattr(binding, "load", lambda flavor: library)
        return library

    yield put
    assert not gpu._opened, "a runner kept its claim on the device"


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("kind", [fake_engine.Engine, fake_engine.Engine8])
def test_it_computes_what_the_engine_computes(
    artifact: Artifact, compute: fake_engine.Compute, install: Install, kind: Any, graph: bool
) -> None:
    """int64 in, float32 out, whatever the engine's own types are; with and without a graph; in both APIs."""
    shared = {"profile_sharing": True} if kind is fake_engine.Engine8 else {}
    fake = kind(
        compute,
        inputs=NAMES,
        outputs={"logits": ("B", 2)},
        profiles=[SMALL, LARGE],
        floats="HALF",
        **shared,
    )
    install(fake)
    with trt.Runner(artifact, "cuda", 1, graph=graph) as opened:
        assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in opened.inputs] == [
            (name, "int64", (None, None)) for name in NAMES
        ]
        assert [tensor.limits for tensor in opened.inputs] == [((0, 8), (1, 64))] * 3
        assert (opened.outputs[0].dtype, opened.outputs[0].shape) == ("float32", (None, 2))
        for batch, length in ((2, 5), (1, 40), (2, 5)):
            arrays = feed(batch, length)
            logits = opened.infer(arrays)["logits"]
            assert logits.dtype == np.float32
            np.testing.assert_allclose(logits, compute(arrays)["logits"], atol=2e-3)


def test_tensorrt_8_shares_a_profile_only_if_built_so(
    artifact: Artifact, compute: fake_engine.Compute, install: Install
) -> None:
    """The second shape of a profile needs a second context: what the build's preview feature is for."""
    for sharing in (True, False):
        install(
            fake_engine.Engine8(
                compute,
                profile_sharing=sharing,
                inputs=NAMES,
                outputs={"logits": ("B", 2)},
                profiles=[SMALL, LARGE],
            )
        )
        with trt.Runner(artifact, "cuda", 1) as opened:
            opened.infer(feed(2, 5))
            opened.infer(feed(2, 40))
            if sharing:
                opened.infer(feed(3, 5))
            else:
                with pytest.raises(RuntimeError, match="TensorRT refused profile 0"):
                    opened.infer(feed(3, 5))


def test_a_graph_is_captured_once_for_each_profile_and_shape(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """Each set of shapes has one context, in the profile that holds it, one capture, then only replays."""
    install(engine)
    with trt.Runner(artifact, "cuda", 1) as opened:
        device = opened._device
        opened.infer(feed(2, 5))
        executed, buffers = engine.contexts[0].executed, len(device.buffers)
        for _ in range(5):
            opened.infer(feed(2, 5))
        assert (device.captures, device.replays) == (1, 6)
        assert engine.contexts[0].executed == executed
        assert len(device.buffers) == buffers, "a run allocated"
        opened.infer(feed(2, 40))
        opened.infer(feed(3, 5))
        assert device.captures == 3
        assert [context.profile for context in engine.contexts] == [0, 1, 0]
        scratch = {context.memory for context in engine.contexts}
        assert len(scratch) == 1, "contexts of one stream share their scratch memory"
        assert opened.provenance() == {
            "provider": "tensorrt",
            "precision": "fp16",
            "graph": "on",
            "contexts": "1",
            "threads": "1",
            "tensorrt": "10.16.1",
        }


def test_without_a_graph_every_run_is_enqueued(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """The option turns capturing off; contexts and buffers stay those of the shape."""
    install(engine)
    with trt.Runner(artifact, "cuda", 1, graph=False) as opened:
        for _ in range(3):
            opened.infer(feed(2, 5))
        assert opened._device.captures == 0
        assert [context.executed for context in engine.contexts] == [1 + 3], "one run warms the shape up"
        assert opened.graph_choices() == (False,)
        assert opened.provenance()["graph"] == "off"


def test_gpu_enqueue_and_end_to_end_times_are_three_figures(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """Events give the GPU's time, the host's clock the enqueue's and the whole; both ways, graph and none."""
    install(engine)
    with trt.Runner(artifact, "cuda", 1) as opened:
        assert opened.graph_choices() == (False, True)
        opened.prepare(feed(2, 5))
        executed, replays = engine.contexts[0].executed, opened._device.replays
        with_graph = opened.device_times(feed(2, 5), graph=True)
        assert (opened._device.replays, engine.contexts[0].executed) == (replays + 1, executed)
        assert with_graph.gpu_ms == 0.25
        assert with_graph.enqueue_ms > 0
        opened.device_times(feed(2, 5), graph=False)
        assert (opened._device.replays, engine.contexts[0].executed) == (replays + 1, executed + 1)
        assert opened.end_to_end_ms(feed(2, 5), graph=True) > 0
        assert opened.enqueue_waits(graph=True) is False


def test_several_contexts_take_turns(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """Submitted runs go to the streams in turn, each with a context and scratch memory of its own."""
    install(engine)
    with trt.Runner(artifact, "cuda", 1, graph=False, contexts=2) as opened:
        opened.prepare(feed(2, 5))
        for _ in range(4):
            opened.submit(feed(2, 5))
        opened.sync()
        assert [context.executed for context in engine.contexts] == [1 + 2, 1 + 2]
        assert len({context.memory for context in engine.contexts}) == 2
        assert opened.device_memory().activations == 2 * engine.scratch
        assert opened.device_memory().weights == 1234
    with pytest.raises(UserError, match="contexts=0; give a number of 1 or more"):
        trt.Runner(artifact, "cuda", 1, contexts=0)


def test_feeds_below_a_profile_are_padded_and_cut(
    artifact: Artifact, compute: fake_engine.Compute, install: Install
) -> None:
    """A feed smaller than every profile runs padded; what comes back has the feed's own size and values."""
    narrow = ((4, 16), (4, 32), (8, 64))
    fake = fake_engine.Engine(compute, inputs=NAMES, outputs={"logits": ("B", 2)}, profiles=[narrow])
    install(fake)
    with trt.Runner(artifact, "cuda", 1) as opened:
        logits = opened.infer(feed(2, 5))["logits"]
        assert fake.contexts[0].shapes["input_ids"] == (4, 16)
    assert logits.shape == (2, 2)
    np.testing.assert_allclose(logits, compute(feed(2, 5))["logits"], atol=2e-5)


def test_a_feed_outside_every_profile_is_refused(
    artifact: Artifact, compute: fake_engine.Compute, install: Install
) -> None:
    """Beyond the largest size of all: the limit; between profiles: the profiles, and the command."""
    holes = [((1, 1), (1, 8), (1, 64)), ((1, 1), (8, 8), (8, 16))]
    install(fake_engine.Engine(compute, inputs=NAMES, outputs={"logits": ("B", 2)}, profiles=holes))
    with trt.Runner(artifact, "cuda", 1) as opened:
        with pytest.raises(UserError, match="has size 65 on axis 1; allowed: 1 to 64"):
            opened.infer(feed(1, 65))
        with pytest.raises(UserError, match=r"outside every profile .*paredown build"):
            opened.infer(feed(8, 64))


def test_a_tampered_or_truncated_engine_is_never_deserialized(
    artifact: Artifact, engine: fake_engine.Engine, install: Install, tmp_path: Path
) -> None:
    """The passport's own checksum holds even where nobody verified the artifact."""
    library = install(engine)
    for change, words in ((b"x" + PLAN[1:], "was changed since it was built"), (PLAN[:-3], "truncated")):
        folder = tmp_path / words.split()[0]
        shutil.copytree(artifact.path, folder)
        (folder / passports.ENGINE).write_bytes(change)
        with (
            pytest.raises(ArtifactError, match=words),
            trt.Runner(Artifact.open(folder, verify=False), "cuda", 1),
        ):
            pass
    assert library.deserialized == 0


def test_another_gpu_is_one_sentence_with_the_command(
    artifact: Artifact, engine: fake_engine.Engine, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deserialized; the sentence says what was built, what is here, and how to build it again."""
    library = install(engine)
    l4 = HERE.model_copy(update={"name": "L4", "compute_capability": "8.9"})
    monkeypatch.setattr(binding, "here", lambda flavor, device: Here(flavor, "10.16.1", l4))
    with (
        pytest.raises(UserError, match=r"built for H200 .* this is L4 .* paredown build"),
        trt.Runner(artifact, "cuda", 1),
    ):
        pass
    assert library.deserialized == 0


def test_an_engine_that_does_not_open_says_why(artifact: Artifact, install: Install) -> None:
    """TensorRT's own last word, and the command."""
    install(None)
    with (
        pytest.raises(
            UserError, match=r"cannot open the engine \(Magic tag does not match\); build it again"
        ),
        trt.Runner(artifact, "cuda", 1),
    ):
        pass


def test_two_devices_in_one_process(artifact: Artifact, engine: fake_engine.Engine, install: Install) -> None:
    """A second engine on the same device opens; one on another is refused; after closing, it opens."""
    install(engine)
    with trt.Runner(artifact, "cuda:1", 1) as first:
        first.infer(feed(1, 4))
        with trt.Runner(artifact, "cuda:1", 1) as second:
            second.infer(feed(1, 4))
        with (
            pytest.raises(UserError, match="has an engine open on cuda:1, and another on cuda:0 was asked"),
            trt.Runner(artifact, "cuda", 1),
        ):
            pass
        first.infer(feed(1, 4))
    with trt.Runner(artifact, "cuda", 1) as opened:
        opened.infer(feed(1, 4))


def test_closing_lets_go_of_everything(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """Engine, contexts, buffers and claim are gone; it can be opened again."""
    install(engine)
    runner = trt.Runner(artifact, "cuda", 1)
    with runner:
        first = runner.infer(feed(2, 5))["logits"].copy()
    assert runner._engine is None
    assert runner._queue is None
    assert runner._device.released == 1
    with pytest.raises(RuntimeError, match="is not open"):
        runner.infer(feed(2, 5))
    with runner:
        np.testing.assert_array_equal(runner.infer(feed(2, 5))["logits"], first)


def test_an_engine_without_weights_is_refused(
    artifact: Artifact, engine: fake_engine.Engine, install: Install, tmp_path: Path
) -> None:
    """A stripped engine would compute with nothing."""
    library = install(engine)
    folder = tmp_path / "stripped"
    shutil.copytree(artifact.path, folder)
    (folder / "manifest.json").unlink()
    record = passports.read(artifact)
    options = record.options.model_copy(update={"strip_plan": True})
    passports.write(folder, record.model_copy(update={"options": options}))
    stripped = tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")
    with pytest.raises(UserError, match="built without its weights"), trt.Runner(stripped, "cuda", 1):
        pass
    assert library.deserialized == 0


def test_an_engine_runs_on_the_gpu_unless_told_otherwise(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """Nothing was said about the device: an engine's is CUDA, a graph's the CPU."""
    from deploy.predictor import Predictor

    install(engine)
    with Predictor(artifact, threads=1) as predictor:
        assert predictor.provenance()["provider"] == "tensorrt"
        assert predictor.predict(["good film"])[0].label in predictor.labels


def test_a_type_that_arrays_cannot_hold_is_refused(
    artifact: Artifact, compute: fake_engine.Compute, install: Install
) -> None:
    """FP8 bindings are named."""
    install(
        fake_engine.Engine(
            compute, inputs=NAMES, outputs={"logits": ("B", 2)}, profiles=[SMALL, LARGE], floats="FP8"
        )
    )
    with pytest.raises(UserError, match="'logits' is FP8"), trt.Runner(artifact, "cuda", 1):
        pass


def test_a_cpu_is_refused(artifact: Artifact) -> None:
    """The sentence says what to use."""
    with pytest.raises(UserError, match="run on NVIDIA GPUs: use --device cuda"), trt.Runner(artifact):
        pass


MIB = 2**20


@pytest.mark.parametrize(
    ("free", "contexts", "words"),
    [
        (1000, 1, None),
        (600, 1, None),
        (
            599,
            1,
            r"asked are 600 MiB \(100 MiB of weights, 1 x 500 MiB of scratch memory\), free are 599 MiB",
        ),
        (599, 1, "the profile 'short' alone would fit"),
        (1000, 2, "contexts=1 would fit"),
        (100, 1, "nothing of it would fit"),
    ],
)
def test_what_fits_into_the_memory_of_a_gpu(free: int, contexts: int, words: str | None) -> None:
    """Weights and the scratch memory of every context, against what is free; and what would fit instead."""
    refusal = engines.memory_refusal(
        100 * MIB,
        [50 * MIB, 500 * MIB],
        ["short", "long"],
        contexts=contexts,
        free=free * MIB,
        total=2000 * MIB,
    )
    if words is None:
        assert refusal is None
    else:
        assert refusal is not None
        import re

        assert re.search(words, refusal)


def test_too_little_memory_is_found_before_the_first_run(
    artifact: Artifact, engine: fake_engine.Engine, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening refuses, with what was asked and what is free."""
    install(engine)
    monkeypatch.setattr(fake_cuda.Device, "free", 100)
    with pytest.raises(UserError, match="too little GPU memory: asked are"), trt.Runner(artifact, "cuda", 1):
        pass


def test_weights_that_do_not_fit_are_never_deserialized(
    artifact: Artifact, engine: fake_engine.Engine, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file alone is larger than what is free: asked and free are said before TensorRT tries."""
    library = install(engine)
    monkeypatch.setattr(fake_cuda.Device, "free", 1)
    with (
        pytest.raises(UserError, match=r"of weights\), free are 0 MiB.*nothing of it would fit"),
        trt.Runner(artifact, "cuda", 1),
    ):
        pass
    assert library.deserialized == 0


@pytest.fixture
def streaming(artifact: Artifact, tmp_path: Path) -> Artifact:
    """The engine artifact, built with weight streaming."""
    folder = tmp_path / "streaming"
    shutil.copytree(artifact.path, folder)
    (folder / "manifest.json").unlink()
    record = passports.read(artifact)
    options = record.options.model_copy(update={"weight_streaming": True})
    passports.write(folder, record.model_copy(update={"options": options, "engine_bytes": len(PLAN)}))
    return tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")


def _streamed(compute: fake_engine.Compute, streamable: int = 1000) -> fake_engine.Engine:
    return fake_engine.Engine(
        compute,
        inputs=NAMES,
        outputs={"logits": ("B", 2)},
        profiles=[SMALL, LARGE],
        streamable=streamable,
    )


@pytest.mark.parametrize(
    ("budget", "resident"),
    [(None, 1000), ("0", 0), (600, 600), ("600B", 600), ("1KiB", 1000), ("2GiB", 1000)],
)
def test_a_budget_keeps_weights_in_host_memory(
    streaming: Artifact,
    compute: fake_engine.Compute,
    install: Install,
    budget: str | int | None,
    resident: int,
) -> None:
    """Set before the first context, at most all; the memory stated is what really is on the device."""
    fake = _streamed(compute)
    install(fake)
    with trt.Runner(streaming, "cuda", 1, weights_budget=budget) as opened:
        np.testing.assert_allclose(
            opened.infer(feed(2, 5))["logits"], compute(feed(2, 5))["logits"], atol=2e-5
        )
        assert fake.weight_streaming_budget_v2 == resident
        memory = opened.device_memory()
        buffers = fake_engine.STREAMING_BUFFERS if resident < 1000 else 0
        assert (memory.weights, memory.activations) == (1234 - 1000 + resident, 4096 + buffers)
        assert opened.provenance()["weights_budget"] == str(resident)


def test_a_budget_without_weight_streaming_is_refused(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """With the command that builds such an engine, before it is deserialized; and what is no size."""
    library = install(engine)
    with (
        pytest.raises(
            UserError, match=r"built without weight streaming: .*paredown build.* --set weight_streaming=true"
        ),
        trt.Runner(artifact, "cuda", 1, weights_budget="512MiB"),
    ):
        pass
    assert library.deserialized == 0
    for wrong in ("512MB", "-1", "much", True):
        with pytest.raises(UserError, match="is no size: give one such as 512MiB"):
            trt.Runner(artifact, "cuda", 1, weights_budget=wrong)


def test_a_budget_lets_weights_fit_that_would_not(
    streaming: Artifact, compute: fake_engine.Compute, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays in host memory does not count; without the option the refusal names it."""
    # The file holds 1000 bytes, of which 900 can stay outside; streaming takes buffers of its own.
    folder = streaming.path
    content = b"p" * 1000
    (folder / passports.ENGINE).write_bytes(content)
    (folder / "manifest.json").unlink()
    record = passports.read(streaming)
    sums = {"engine_sha256": hashlib.sha256(content).hexdigest(), "engine_bytes": len(content)}
    passports.write(folder, record.model_copy(update=sums))
    sealed = tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")
    monkeypatch.setattr(fake_cuda.Device, "free", 4096 + fake_engine.STREAMING_BUFFERS + 100)
    install(_streamed(compute, streamable=900))
    with trt.Runner(sealed, "cuda", 1, weights_budget=0) as opened:
        assert opened.infer(feed(1, 4))["logits"].shape == (1, 2)
    install(_streamed(compute, streamable=900))
    with (
        pytest.raises(UserError, match="weights_budget=0MiB or less streams the others from host memory"),
        trt.Runner(sealed, "cuda", 1),
    ):
        pass


def test_the_budget_that_a_refusal_names_is_what_is_left() -> None:
    """600 MiB free, 100 of scratch, 50 of weights that must be there: 450 MiB are left for the others."""
    memory = {"contexts": 1, "free": 600 * MIB, "total": 2000 * MIB}
    refusal = engines.memory_refusal(1050 * MIB, [100 * MIB], ["all"], resident=1000 * MIB, **memory)
    assert refusal is not None
    assert refusal.endswith("weights_budget=450MiB or less streams the others from host memory")


# --- What ran, layer by layer ----------------------------------------------------------------------


@pytest.fixture
def inspected(artifact: Artifact, tmp_path: Path) -> Artifact:
    """The engine artifact, whose passport holds layers."""
    folder = tmp_path / "inspected"
    shutil.copytree(artifact.path, folder)
    (folder / "manifest.json").unlink()
    named = {"name": "fc1_myl3", "type": "gemm", "precision": "fp16", "nodes": ("/dense/MatMul",)}
    layers = (Layer(**named), Layer(name="ln", type="kgen", precision="fp32", nodes=("/norm/Add",)))
    passports.write(
        folder,
        passports.read(artifact).model_copy(update={"layers": layers, "products": ("/dense/MatMul",)}),
    )
    return tiny_deploy.seal(folder, "tensorrt", "build-tensorrt")


@pytest.mark.parametrize("graph", [True, False])
def test_layers_are_timed_in_contexts_of_their_own(
    inspected: Artifact,
    engine: fake_engine.Engine,
    install: Install,
    graph: bool,
) -> None:
    """Never captured; the first run, which loads kernels, is in no figure; other runs stay unprofiled."""
    engine.layers = {"fc1_myl3": 3.0, "ln": 1.0}
    install(engine)
    with trt.Runner(inspected, "cuda", 1, graph=graph) as opened:
        before = opened.infer(feed(2, 5))["logits"].copy()
        times = opened.nodes([feed(2, 5), feed(1, 40), feed(2, 5)])
        assert times is not None
        assert [(layer.name, layer.precision, layer.product, layer.microseconds) for layer in times] == [
            ("fc1_myl3", "fp16", True, 9000.0),
            ("ln", "fp32", False, 3000.0),
        ]
        assert {layer.provider for layer in times} == {"tensorrt"}
        assert [context.profiler is not None for context in engine.contexts] == [False, True, True]
        np.testing.assert_array_equal(opened.infer(feed(2, 5))["logits"], before)


def test_without_the_engines_layers_nothing_is_said(
    artifact: Artifact, engine: fake_engine.Engine, install: Install
) -> None:
    """Times alone do not say what a layer computes in."""
    install(engine)
    with trt.Runner(artifact, "cuda", 1) as opened:
        assert opened.nodes([feed(1, 4)]) is None


@pytest.mark.parametrize(
    ("layer", "precision", "product"),
    [
        ({"type": "kgen", "precision": "int8", "nodes": ("/dense/MatMul",)}, "int8", True),
        ({"type": "kgen", "precision": "fp16", "nodes": ("/norm/Add",)}, "fp16", False),
        ({"type": "MatrixMultiply", "precision": "fp16"}, "fp16", True),
        ({"type": "kgen", "precision": "fp16", "fused_attention": True}, "fp16", True),
        ({"type": "Reformat", "precision": "fp32", "nodes": ("/dense/MatMul",)}, "fp32", False),
        (
            {"type": "Myelin", "precision": "fp16", "opaque": True, "nodes": ("/dense/MatMul",)},
            "unknown",
            True,
        ),
        (None, "unknown", True),
    ],
)
def test_what_a_layer_counts_as(
    artifact: Artifact, layer: dict[str, Any] | None, precision: str, product: bool
) -> None:
    """What is not shown counts against the precision asked for, not for it; moving data is no product."""
    layers = () if layer is None else (Layer(**{"name": "x", "type": "Myelin", **layer}),)
    record = passports.read(artifact).model_copy(update={"layers": layers, "products": ("/dense/MatMul",)})
    (node,) = layer_times.nodes({"x": 0.5}, record)
    assert (node.precision, node.product, node.microseconds) == (precision, product, 500.0)
    (moved,) = layer_times.nodes({"Reformatting CopyNode for Input Tensor 0 to x": 0.5}, record)
    assert not moved.product
