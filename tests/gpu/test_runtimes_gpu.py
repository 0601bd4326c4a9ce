"""Every runtime on a CUDA device: parity with PyTorch, graphs that replay what eager computes, sane memory.

Run with ``pytest -m gpu tests/gpu``; each part is skipped where its library is not there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_deploy
import torch

from bench.lanes.lane import Lane, LaneSpec
from bench.machine import devices
from compress import environment
from compress.artifacts.artifact import Artifact
from deploy import session
from deploy.opening import runner
from deploy.runtimes import Runner, ort, trt

pytestmark = pytest.mark.gpu

SIZES = [(1, 3), (4, 17), (8, 32), (1, 3)]
TOLERANCE = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 0.1, "fp16": 1e-2}


def feed(batch: int, length: int) -> dict[str, np.ndarray]:
    """Token ids with padding at the end of every second row."""
    ids = np.arange(batch * length, dtype=np.int64).reshape(batch, length) % 20 + 2
    mask = np.ones_like(ids)
    mask[1::2, length // 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A small model as weights, as a graph and as an FP16 graph."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    folder = tmp_path_factory.mktemp("gpu")
    rows = tiny_deploy.text_rows(16)
    source = tiny_deploy.text_artifact(folder / "torch", hidden=64, ffn=128)
    exported = tiny_deploy.run("export_onnx", source, folder / "onnx", rows).artifact
    half = tiny_deploy.run("half_precision", exported, folder / "half", rows, precision="fp16").artifact
    return {"torch": source, "onnx": exported, "half": half}


@pytest.fixture(scope="module")
def expected(artifacts: dict[str, Artifact]) -> dict[tuple[int, int], np.ndarray]:
    """What PyTorch says on the CPU."""
    with runner(artifacts["torch"], "pytorch", threads=1) as opened:
        return {size: opened.infer(feed(*size))["logits"].copy() for size in SIZES}


def agrees(opened: Runner, expected: dict[tuple[int, int], np.ndarray], tolerance: float) -> None:
    """The same logits for every size, in an order that comes back to the first, also after submitted runs."""
    for size in SIZES:
        np.testing.assert_allclose(opened.infer(feed(*size))["logits"], expected[size], atol=tolerance)
    for size in SIZES * 4:
        opened.submit(feed(*size))
    opened.sync()
    for size in SIZES:
        np.testing.assert_allclose(opened.infer(feed(*size))["logits"], expected[size], atol=tolerance)


def timed(opened: Runner) -> None:
    """Every way of timing gives positive figures, and the whole takes longer than the GPU alone."""
    opened.prepare(feed(8, 32))
    for graph in opened.graph_choices():
        found = [opened.device_times(feed(8, 32), graph=graph) for _ in range(20)]
        whole = [opened.end_to_end_ms(feed(8, 32), graph=graph) for _ in range(20)]
        assert all(one.gpu_ms > 0 and one.enqueue_ms > 0 for one in found)
        assert np.median(whole) > 0


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_pytorch_agrees(artifacts: Any, expected: Any, mode: str, precision: str, attention: str) -> None:
    """Each mode, precision and attention is near eager FP32 on the CPU."""
    with runner(
        artifacts["torch"], "pytorch", "cuda", 1, mode=mode, precision=precision, attention=attention
    ) as opened:
        agrees(opened, expected, TOLERANCE[precision])
        timed(opened)


def test_a_replay_is_what_eager_computes(artifacts: Any) -> None:
    """The same kernels in the same order: bit for bit."""
    with (
        runner(artifacts["torch"], "pytorch", "cuda", 1) as eager,
        runner(artifacts["torch"], "pytorch", "cuda", 1, mode="graph") as recorded,
    ):
        for size in SIZES:
            wanted = eager.infer(feed(*size))["logits"].copy()
            np.testing.assert_array_equal(recorded.infer(feed(*size))["logits"], wanted)


def test_compiled_pytorch_agrees(artifacts: Any, expected: Any) -> None:
    """Where there is Triton."""
    pytest.importorskip("triton")
    with runner(artifacts["torch"], "pytorch", "cuda", 1, mode="compiled") as opened:
        agrees(opened, expected, TOLERANCE["fp32"])


@pytest.fixture
def with_ort(artifacts: Any) -> None:
    """ONNX Runtime with its CUDA provider."""
    reason = ort.Runner.unavailable("cuda")
    if reason:
        pytest.skip(reason)


@pytest.mark.usefixtures("with_ort")
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("kind", "tolerance"), [("onnx", 1e-3), ("half", 1e-2)])
def test_onnx_runtime_agrees(artifacts: Any, expected: Any, kind: str, tolerance: float, graph: bool) -> None:
    """FP32 and FP16 graphs in fixed buffers, with and without a CUDA graph a shape."""
    with runner(artifacts[kind], "ort", "cuda", 1, graph=graph) as opened:
        assert opened.provenance()["provider"] == "CUDAExecutionProvider"
        agrees(opened, expected, tolerance)
        timed(opened)


@pytest.mark.usefixtures("with_ort")
def test_the_tensorrt_provider_agrees(artifacts: Any, expected: Any) -> None:
    """Where the installed ONNX Runtime can load it."""
    if session.TENSORRT not in session.onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime was built without TensorRT")
    try:
        opened = runner(artifacts["half"], "ort", "cuda", 1, provider="tensorrt").__enter__()
    except Exception as cause:  # libnvinfer of the wanted major is not there
        pytest.skip(f"the TensorRT provider does not load: {cause}")
    try:
        agrees(opened, expected, 1e-2)
    finally:
        opened.__exit__(None, None, None)


@pytest.fixture(scope="module")
def engine(artifacts: Any, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An FP16 engine with two profiles, built here."""
    pytest.importorskip("tensorrt")
    out = tmp_path_factory.mktemp("engine") / "engine"
    rows = tiny_deploy.text_rows(16)
    given = {
        "profiles": ["batch=1:4:8,length=1:8:16", "batch=1:4:8,length=17:32:64"],
    }
    return tiny_deploy.run("build_tensorrt", artifacts["half"], out, rows, **given).artifact


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("contexts", [1, 2])
def test_tensorrt_agrees(engine: Artifact, expected: Any, graph: bool, contexts: int) -> None:
    """Native execution in both profiles, with and without graphs, on one stream and on two."""
    with runner(engine, "trt", "cuda", 1, graph=graph, contexts=contexts) as opened:
        agrees(opened, expected, 1e-2)
        timed(opened)
        memory = opened.device_memory()
        assert memory is not None
        assert memory.weights is not None
        assert 0 < memory.weights < 10 * engine.size_bytes


def test_a_tensorrt_replay_is_what_was_enqueued(engine: Artifact) -> None:
    """With and without the graph, bit for bit."""
    assert trt.Runner.unavailable("cuda") is None
    with (
        runner(engine, "trt", "cuda", 1, graph=False) as plain,
        runner(engine, "trt", "cuda", 1) as recorded,
    ):
        for size in SIZES:
            wanted = plain.infer(feed(*size))["logits"].copy()
            np.testing.assert_array_equal(recorded.infer(feed(*size))["logits"], wanted)


def test_memory_is_given_back(artifacts: Any) -> None:
    """After closing, the device has about as much free memory as before the second opening."""
    with runner(artifacts["torch"], "pytorch", "cuda", 1, mode="graph") as opened:
        opened.infer(feed(8, 32))
    free, _ = environment.free_device_memory("cuda")
    with runner(artifacts["torch"], "pytorch", "cuda", 1, mode="graph") as opened:
        opened.infer(feed(8, 32))
    after, _ = environment.free_device_memory("cuda")
    assert abs(after - free) < 64 * 2**20


def test_the_driver_s_figures_are_sane(artifacts: Any) -> None:
    """A context costs something; a process with a model costs more than a context alone."""
    pytest.importorskip("pynvml")
    before = devices.at("cuda")
    assert before is not None
    assert 10 * 2**20 < before.context_bytes < 4 * 2**30
    state = before.gpu.state()
    assert 0 < state.used_bytes < before.gpu.facts().memory_bytes
    used = before.gpu.used_bytes()
    with Lane(LaneSpec("torch", artifacts["torch"], "pytorch", "cuda")) as lane:
        lane.infer([feed(8, 32)])
        held = devices.held_bytes("cuda", lane.opened.pid, used)
        stated = lane.device_memory()
    assert held is not None
    assert held[0] >= before.context_bytes // 2
    assert 0 < (stated["weights"] or 0) < held[0]
    energy = before.gpu.energy_mj()
    assert energy is None or energy > 0
