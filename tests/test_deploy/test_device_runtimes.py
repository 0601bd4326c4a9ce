"""PyTorch and ONNX Runtime on a device, against strict stand-ins: the path that the CPU never takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_cuda
import numpy as np
import pytest
import tiny_deploy
import torch

from compress import environment
from compress.artifacts.artifact import Artifact
from compress.errors import UserError
from deploy import session
from deploy.graph.facts import GraphFacts
from deploy.opening import runner
from deploy.runtimes import _ort_device, ort, pytorch

TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def feed(batch: int = 2, length: int = 5) -> dict[str, np.ndarray]:
    """A feed of real token ids."""
    ids = np.arange(batch * length, dtype=np.int64).reshape(batch, length) % 20 + 2
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A sealed tiny text classifier."""
    return tiny_deploy.text_artifact(tmp_path_factory.mktemp("source") / "torch")


@pytest.fixture(scope="module")
def exported(source: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The same as a graph."""
    out = tmp_path_factory.mktemp("graph") / "onnx"
    return tiny_deploy.run("export_onnx", source, out, tiny_deploy.text_rows(8)).artifact


@pytest.fixture(scope="module")
def reference(source: Artifact) -> np.ndarray:
    """What the plain model says."""
    with runner(source, "pytorch", threads=1) as opened:
        return opened.infer(feed())["logits"].copy()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that seems to have two recent GPUs."""
    for module in (pytorch, _ort_device):
        monkeypatch.setattr(module, "Device", fake_cuda.Device)
    monkeypatch.setattr(environment, "resolve_device", lambda device: device)
    monkeypatch.setattr(environment, "compute_capability", lambda device: (9, 0))
    monkeypatch.setattr(environment, "bf16_is_fast", lambda device: True)
    monkeypatch.setattr(environment, "device_memory_bytes", lambda device: (10**6, 2 * 10**6))


class Binding:
    """Names bound to addresses on the device; a name bound without one is made by the session."""

    def __init__(self) -> None:
        self.inputs: dict[str, Any] = {}
        self.outputs: dict[str, Any] = {}
        self.made: list[Any] = []

    def bind_input(self, name: str, device: str, index: int, kind: Any, shape: Any, address: int) -> None:
        self.inputs[name] = (device, index, kind, tuple(shape), address)

    def bind_output(
        self, name: str, device: str, index: int, kind: Any = None, shape: Any = None, address: int = 0
    ) -> None:
        self.outputs[name] = None if shape is None else (device, index, kind, tuple(shape), address)

    def clear_binding_outputs(self) -> None:
        self.outputs.clear()

    def get_outputs(self) -> list[Any]:
        return self.made


class Value:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def shape(self) -> list[int]:
        return list(self.array.shape)


class Session:
    """A session on the CPU that behaves as one on CUDA: addresses, and graphs by their id."""

    def __init__(self, real: Any, providers: Any) -> None:
        self.real, self.providers = real, providers
        self.runs: dict[str, int] = {}
        self.bound: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def get_providers(self) -> list[str]:
        return [name for name, _ in self.providers]

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        settings = dict(self.providers)["CUDAExecutionProvider"]
        graph_id = "none"
        if "enable_cuda_graph" in settings:
            graph_id = options.get_run_config_entry("gpu_graph_id")
        if graph_id not in ("-1", "none"):
            assert graph_id != "0", "0 is the library's own"
            assert all(binding.outputs.values()), "a graph needs its outputs at fixed addresses"
            now = {**binding.inputs, **binding.outputs}
            assert self.bound.setdefault(graph_id, now) == now, "an address of a captured graph changed"
        self.runs[graph_id] = self.runs.get(graph_id, 0) + 1
        arrays = {
            name: fake_cuda.at(address, shape, kind)
            for name, (_, _, kind, shape, address) in binding.inputs.items()
        }
        names = list(binding.outputs)
        outputs = dict(zip(names, self.real.run(names, arrays), strict=True))
        binding.made = [Value(outputs[name]) for name in names]
        for name, bound in binding.outputs.items():
            if bound is not None:
                fake_cuda.at(bound[4], bound[3], bound[2])[...] = outputs[name]


@pytest.fixture
def sessions(gpu: None, monkeypatch: pytest.MonkeyPatch) -> list[Session]:
    """Every session that is opened on the device."""
    opened: list[Session] = []
    real = session.open_session

    def open_session(graph: Any, device: str, threads: int, providers: Any = ()) -> Any:
        opened.append(Session(real(graph, "cpu", threads), providers))
        return opened[-1]

    monkeypatch.setattr(session, "open_session", open_session)
    monkeypatch.setattr(ort.Runner, "unavailable", classmethod(lambda cls, device="cpu": None))
    return opened


def test_onnx_runtime_computes_on_our_stream_in_fixed_buffers(
    exported: Artifact, sessions: list[Session], reference: np.ndarray
) -> None:
    """The session gets the stream's handle and the device's number; later runs allocate nothing."""
    with runner(exported, "ort", "cuda:1", 1) as opened:
        np.testing.assert_allclose(opened.infer(feed())["logits"], reference, atol=2e-5)
        device = opened._on_device.device
        before = len(device.buffers)
        np.testing.assert_allclose(opened.infer(feed())["logits"], reference, atol=2e-5)
        assert len(device.buffers) == before
        ((name, settings),) = sessions[0].providers
        assert name == "CUDAExecutionProvider"
        assert settings["device_id"] == "1"
        assert int(settings["user_compute_stream"]) in fake_cuda.Stream.by_handle
        assert "enable_cuda_graph" not in settings
        assert opened.graph_choices() == (False,)
        assert opened.device_times(feed(), graph=False).gpu_ms == 0.25
        assert opened.provenance()["graph"] == "off"
        assert opened.device_memory().weights > 0
    assert device.released == 1


def test_several_threads_are_served_on_the_cpu_alone(source: Artifact, exported: Artifact) -> None:
    """On a device all runs go through one queue, whose buffers hold one run."""
    for kind, artifact in ((pytorch.Runner, source), (ort.Runner, exported)):
        assert kind(artifact, "cpu", 1).concurrent is True
        for device in ("cuda", "cuda:1"):
            assert kind(artifact, device, 1).concurrent is False


def test_onnx_runtime_keeps_one_graph_a_shape(
    exported: Artifact, sessions: list[Session], reference: np.ndarray
) -> None:
    """Each shape has its own graph id and addresses; -1 runs without; ids start at 1."""
    with runner(exported, "ort", "cuda", 1, graph=True) as opened:
        for _ in range(2):
            np.testing.assert_allclose(opened.infer(feed())["logits"], reference, atol=2e-5)
            opened.infer(feed(1, 7))
        runs = dict(sessions[0].runs)
        assert runs == {"-1": 2, "1": 3 + 2, "2": 3 + 2}
        assert dict(sessions[0].providers)["CUDAExecutionProvider"]["enable_cuda_graph"] == "1"
        assert opened.graph_choices() == (False, True)
        opened.device_times(feed(), graph=False)
        assert sessions[0].runs == {**runs, "-1": 3}
        opened.device_times(feed(), graph=True)
        assert sessions[0].runs == {**runs, "-1": 3, "1": 6}
        assert opened.enqueue_waits(graph=True)
        assert not opened.enqueue_waits(graph=False)


def test_a_graph_that_cannot_be_recorded_is_refused(
    exported: Artifact, gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ONNX Runtime says of it becomes a sentence."""

    def open_session(*arguments: Any, **named: Any) -> None:
        raise RuntimeError("This session cannot use the graph capture feature\nas requested")

    monkeypatch.setattr(session, "open_session", open_session)
    monkeypatch.setattr(ort.Runner, "unavailable", classmethod(lambda cls, device="cpu": None))
    with (
        pytest.raises(UserError, match=r"cannot record .* feature as requested\): leave graph=true out"),
        runner(exported, "ort", "cuda", 1, graph=True),
    ):
        pass
    with pytest.raises(RuntimeError), runner(exported, "ort", "cuda", 1):
        pass


@pytest.mark.parametrize(
    ("precision", "settings"),
    [
        ("fp32", set()),
        ("fp16", {"trt_fp16_enable"}),
        ("bf16", {"trt_bf16_enable"}),
        ("int8", {"trt_int8_enable", "trt_fp16_enable"}),
    ],
)
def test_the_tensorrt_provider_follows_the_graphs_precision(
    exported: Artifact, precision: Any, settings: set[str]
) -> None:
    """TensorRT first, CUDA for what it leaves; engines and timings are cached by the artifact's content."""
    facts = GraphFacts(precision=precision, opset=17, exporter="torchscript")
    first, second = _ort_device.providers(exported, "cuda:1", facts, "tensorrt", 77, graph=False)
    assert (first[0], second[0]) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert {name for name in first[1] if name.endswith(("16_enable", "int8_enable"))} == settings
    assert first[1]["user_compute_stream"] == second[1]["user_compute_stream"] == "77"
    cache = Path(first[1]["trt_engine_cache_path"])
    assert cache.name == exported.id
    assert cache.is_dir()


def test_refusals_of_onnx_runtime(exported: Artifact, sessions: list[Session]) -> None:
    """INT8 on CUDA, fused graphs on TensorRT, graphs where there are none, providers of another device."""
    int8 = GraphFacts(precision="int8", opset=17, exporter="torchscript")
    assert "has no INT8 kernels" in str(ort.refusal(int8, "cuda"))
    assert ort.refusal(int8, "cuda", "tensorrt") is None
    fused = int8.model_copy(update={"fused": True})
    assert "export again without --fuse" in str(ort.refusal(fused, "cuda", "tensorrt"))
    with pytest.raises(UserError, match=r"no provider 'rocm'\. Allowed: cpu, cuda, tensorrt"):
        runner(exported, "ort", "cuda", provider="rocm")
    with pytest.raises(UserError, match="provider 'tensorrt' does not run on 'cpu': use --device cuda"):
        runner(exported, "ort", "cpu", provider="tensorrt")
    with pytest.raises(UserError, match="provider 'cpu' does not run on 'cuda'"):
        runner(exported, "ort", "cuda", provider="cpu")
    with pytest.raises(UserError, match="a CPU has none: use --device cuda"):
        runner(exported, "ort", "cpu", graph=True)
    with pytest.raises(UserError, match="keeps one CUDA graph for one shape"):
        runner(exported, "ort", "cuda", graph=True, provider="tensorrt")
    with (
        pytest.raises(UserError, match="was built without it"),
        runner(exported, "ort", "cuda", provider="tensorrt"),
    ):
        pass


@pytest.mark.parametrize(
    ("mode", "precision", "attention", "tolerance"),
    [
        ("eager", "fp32", None, 2e-5),
        ("eager", "fp32", "eager", 2e-5),
        ("graph", "fp32", "sdpa", 2e-5),
        ("graph", "tf32", None, 2e-5),
        ("eager", "bf16", None, 0.1),
        ("graph", "fp16", None, 1e-2),
    ],
)
def test_pytorch_agrees_in_every_mode(
    source: Artifact,
    gpu: None,
    reference: np.ndarray,
    mode: str,
    precision: str,
    attention: str | None,
    tolerance: float,
) -> None:
    """Fixed buffers, pinned transfers, recorded or not: the same logits within the precision's rounding."""
    before = torch.get_float32_matmul_precision()
    chosen = {} if attention is None else {"attention": attention}
    with runner(source, "pytorch", "cuda", 1, mode=mode, precision=precision, **chosen) as opened:
        for _ in range(3):
            logits = opened.infer(feed())["logits"]
            opened.infer(feed(1, 3))
        logits = opened.infer(feed())["logits"]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, reference, atol=tolerance)
        assert opened._gpu.captures == (2 if mode == "graph" else 0)
        assert opened.graph_choices() == ((False, True) if mode == "graph" else (False,))
        provenance = opened.provenance()
        assert (provenance["provider"], provenance["precision"]) == (f"torch {mode}", precision)
        assert provenance["attention"] == (attention or "sdpa")
        assert torch.get_float32_matmul_precision() == ("high" if precision == "tf32" else "highest")
        memory = opened.device_memory()
        assert (memory.weights + memory.activations, memory.reserved) == (10**6, 2 * 10**6)
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("mode", "precision", "device", "words"),
    [
        ("graph", "fp32", "cpu", "a CPU has none"),
        ("eager", "tf32", "cpu", "a mode of NVIDIA's matrix units"),
        ("eager", "fp16", "cpu", "no fast FP16 arithmetic on CPUs"),
        ("eager", "tf32", "cuda", "needs compute capability 8.0"),
        ("eager", "bf16", "cuda", "multiplies no BF16 in hardware"),
        ("compiled", "fp32", "cuda", "needs Triton"),
        ("eager", "fp16", "cuda", None),
    ],
)
def test_what_pytorch_cannot_do_is_refused(
    mode: str, precision: str, device: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, and on an old GPU without Triton: each refusal says why and what to take instead."""
    monkeypatch.setattr(environment, "compute_capability", lambda device: (7, 5))
    monkeypatch.setattr(environment, "bf16_is_fast", lambda device: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refusal = pytorch.refusal(mode, precision, device)
    assert refusal is None if words is None else words in str(refusal)


def test_an_attention_that_the_class_lacks_is_refused(
    source: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by name, it must be the one that runs; unasked, the class's own is taken."""
    from compress.model import checkpoint

    real = checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda *arguments, attention: real(*arguments, attention="eager"))
    with pytest.raises(UserError, match=r"'sdpa' was asked for and .* has only 'eager'"):
        runner(source, "pytorch", threads=1, attention="sdpa").__enter__()
    with runner(source, "pytorch", threads=1) as opened:
        assert opened.provenance()["attention"] == "eager"


def test_shapes_beyond_the_limit_make_room() -> None:
    """The least recently used shapes go; those in use stay, and nothing is built twice for them."""
    from deploy.runtimes._queue import Queue, Work

    built: list[tuple[int, ...]] = []

    def build(shapes: Any, number: int, stream: Any) -> Work:
        built.append(shapes["x"])
        buffer = torch.zeros(shapes["x"])
        return Work(inputs={"x": buffer}, launch=lambda: {"y": buffer * 2})

    queue = Queue(fake_cuda.Device("cuda"), build, limit=2)  # type: ignore[arg-type]
    for size in (1, 2, 1, 3, 1, 2):
        outputs = queue.run({"x": np.full((size,), 3.0, np.float32)})
        np.testing.assert_array_equal(outputs["y"], np.full((size,), 6.0))
    assert built == [(1,), (2,), (3,), (2,)]
    queue.close()


def test_submitted_runs_do_not_overwrite_each_other() -> None:
    """Two pinned sets take turns: before one is filled again, its last copy is waited for."""
    from deploy.runtimes._queue import Queue, Work

    def build(shapes: Any, number: int, stream: Any) -> Work:
        buffer = torch.zeros(shapes["x"])
        return Work(inputs={"x": buffer}, launch=lambda: {"y": buffer})

    queue = Queue(fake_cuda.Device("cuda"), build)  # type: ignore[arg-type]
    for value in range(4):
        queue.submit({"x": np.array([value], np.float32)})
    (slot,) = queue._lanes[0].slots.values()
    assert [float(staging.outputs["y"][0]) for staging in slot.stagings] == [2.0, 3.0]
    assert [staging.done.waits for staging in slot.stagings] == [1, 1], (
        "each was used twice, waited for in between"
    )
