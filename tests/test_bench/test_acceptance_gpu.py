"""The CUDA paths against stand-ins: which calls, in which order, with which arguments. No GPU is claimed."""

from __future__ import annotations

import ast
import inspect
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_gpu_libraries
import numpy as np
import onnxruntime
import pytest
import torch

from compress.errors import UserError
from studies.gpu import backends, cells, driver, expectations, nvml, timing
from studies.gpu.around import Around, Skip
from studies.gpu.backends import _torch, ort
from studies.gpu.backends import trt as backend
from studies.gpu.plan import TINY, Shape

SHAPES = [Shape(1, 8), Shape(2, 8)]


class Given(backends.Subject):
    """A subject whose graphs need no artifacts; remembers which were asked for."""

    def graph(self, precision: str, typing: str) -> Path:
        asked.append((precision, typing))
        return Path("somewhere") / f"{precision}-{typing}" / "model.onnx"


asked: list[tuple[str, str]] = []


def opened(monkeypatch: pytest.MonkeyPatch, typed: bool, precision: str, parses: bool = True) -> Any:
    """The backend over stand-ins."""
    asked.clear()
    cuda = fake_gpu_libraries.Cuda()
    monkeypatch.setitem(sys.modules, "tensorrt", fake_gpu_libraries.make(typed, parses))
    monkeypatch.setattr(backend, "Driver", lambda: driver.Driver(cuda))
    made = backend.Opened(Given("m", None, None, {}), precision, "cuda")
    made.cuda = cuda  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_typed_networks_take_precision_from_the_graph(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """With TensorRT 10 and 11 the typed graph is parsed into a strongly typed network, with no flag."""
    made = opened(monkeypatch, True, precision)
    made.build([(shape, shape) for shape in SHAPES])
    assert asked == [(precision, "typed")]
    assert ("network", 1 << 1) in made.trt.log
    assert not [one for one in made.trt.log if one[0] in ("flag", "sources")]


@pytest.mark.parametrize(
    ("precision", "graph", "flags"),
    [("fp16", "fp32", ["FP16"]), ("int8", "int8", ["FP16", "INT8"])],
)
def test_weak_networks_take_flags(
    monkeypatch: pytest.MonkeyPatch, precision: str, graph: str, flags: list[str]
) -> None:
    """With 8.6 the FP32 (or weak INT8) graph gets builder flags; foreign tactic sources are off."""
    made = opened(monkeypatch, False, precision)
    made.build([(SHAPES[0], SHAPES[1])])
    assert asked == [(graph, "weak")]
    assert [one[1] for one in made.trt.log if one[0] == "flag"] == flags
    assert ("sources", 0b1000) in made.trt.log
    assert ("network", 1) in made.trt.log


def test_each_shape_has_a_profile_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smallest, best and largest are the shape itself, and the session takes that profile."""
    made = opened(monkeypatch, True, "fp16")
    made.build([(shape, shape) for shape in SHAPES])
    profiles = [one[1] for one in made.trt.log if one[0] == "add profile"]
    assert profiles == [((1, 8),) * 3, ((2, 8),) * 3]
    made.session(SHAPES[1], backends.feeds(SHAPES[1], 64), False)
    assert ("profile", 1) in made.trt.log
    with pytest.raises(ValueError, match="no profile holds 4x8"):
        made.session(Shape(4, 8), backends.feeds(Shape(4, 8), 64), False)


def test_a_graph_is_captured_after_a_first_run_and_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All addresses are set, one run goes before the capture, and later runs only launch the graph."""
    made = opened(monkeypatch, True, "fp16")
    made.build([(SHAPES[0], SHAPES[0])])
    session = made.session(SHAPES[0], backends.feeds(SHAPES[0], 64), True)
    log = made.trt.log
    last_address = max(i for i, one in enumerate(log) if one[0] == "address")
    assert log[last_address + 1 :] == ["execute", "execute"]
    cuda = made.cuda.calls
    begin, end = cuda.index("cuStreamBeginCapture_v2"), cuda.index("cuStreamEndCapture")
    assert end == begin + 1
    assert cuda[end + 1] == "cuGraphInstantiateWithFlags"
    assert "cuStreamSynchronize" in cuda[:begin]
    session.enqueue()
    assert cuda[-1] == "cuGraphLaunch"
    assert log[-2:] == ["execute", "execute"]


def test_closing_gives_back_all_that_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many buffers, pinned arrays and graphs are freed as were made, once, and the context goes first."""
    made = opened(monkeypatch, False, "fp16")
    made.build([(SHAPES[0], SHAPES[0])])
    session = made.session(SHAPES[0], backends.feeds(SHAPES[0], 64), True)
    session.close()
    session.close()
    for taken, given in PAIRS.items():
        assert made.cuda.calls.count(taken) == made.cuda.calls.count(given) > 0, taken
    assert not list(made.engine._living)


PAIRS = {
    "cuMemAlloc_v2": "cuMemFree_v2",
    "cuMemHostAlloc": "cuMemFreeHost",
    "cuGraphInstantiateWithFlags": "cuGraphExecDestroy",
    "cuStreamEndCapture": "cuGraphDestroy",
}


@pytest.mark.parametrize("broken", ["cuMemAlloc_v2", "cuGraphInstantiateWithFlags"])
def test_a_shape_that_does_not_fit_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """What was made before the error is freed, and its own error told; the next shape finds it all free."""
    made = opened(monkeypatch, False, "fp16")
    made.build([(SHAPES[0], SHAPES[0])])
    made.cuda.broken[broken] = 2
    with pytest.raises(RuntimeError, match=f"{broken} returned CUDA error 2"):
        made.session(SHAPES[0], backends.feeds(SHAPES[0], 64), True)
    calls = made.cuda.calls
    made_here = calls.count("cuMemAlloc_v2") - (broken == "cuMemAlloc_v2")
    assert calls.count("cuMemFree_v2") == made_here
    assert calls.count("cuMemHostAlloc") == calls.count("cuMemFreeHost") > 0
    assert not list(made.engine._living)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("set_optimization_profile_async", "profile 0 for 1x8"),
        ("set_input_shape", "shape 1x8 of 'input_ids'"),
        ("set_tensor_address", "the address of 'input_ids'"),
    ],
)
def test_what_tensorrt_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    """It answers False and would work on with what was there before: nothing is timed then."""
    made = opened(monkeypatch, True, "fp16")
    made.build([(SHAPES[0], SHAPES[0])])
    made.trt.refused.add(name)
    with pytest.raises(RuntimeError, match=f"TensorRT refused {words}"):
        made.session(SHAPES[0], backends.feeds(SHAPES[0], 64), False)


def test_two_contexts_share_a_profile_where_the_engine_was_built_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """8.6 refuses the second one otherwise; the feature is asked for where the library has its name."""
    made = opened(monkeypatch, False, "fp16")
    made.build([(SHAPES[0], SHAPES[0])])
    feeds = backends.feeds(SHAPES[0], 64)
    both = [made.session(SHAPES[0], feeds, graph) for graph in (False, True)]
    assert [one._context.profile for one in both] == [0, 0]
    del made.trt.PreviewFeature
    made.trt.log.clear()
    made.build([(SHAPES[0], SHAPES[0])])
    one = made.session(SHAPES[0], feeds, False)
    with pytest.raises(RuntimeError, match="refused profile 0"):
        made.session(SHAPES[0], feeds, False)
    one.close()
    made.session(SHAPES[0], feeds, False)


def test_times_come_from_driver_events_on_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record, launch, record, wait for the event, read."""
    made = opened(monkeypatch, True, "fp16")
    made.build([(SHAPES[0], SHAPES[0])])
    session = made.session(SHAPES[0], backends.feeds(SHAPES[0], 64), True)
    before = len(made.cuda.calls)
    taken, host = made.clock.time(session)
    assert made.cuda.calls[before:] == [
        "cuEventRecord",
        "cuGraphLaunch",
        "cuEventRecord",
        "cuEventSynchronize",
        "cuEventElapsedTime",
    ]
    assert taken == 1.5
    assert host is not None
    assert made.clock.name == "gpu_ms"


def test_inputs_take_the_types_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """8.6 turns INT64 into INT32: host arrays follow what the engine says."""
    for typed, dtype in ((True, np.int64), (False, np.int32)):
        made = opened(monkeypatch, typed, "fp16")
        made.build([(SHAPES[0], SHAPES[0])])
        session = made.session(SHAPES[0], backends.feeds(SHAPES[0], 64), False)
        assert session._host[0]["input_ids"].dtype == dtype
        assert session.outputs().shape == (1, 2)


def test_memory_and_layers_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan and activations under either version's name; fused attention is counted."""
    for typed in (True, False):
        made = opened(monkeypatch, typed, "fp16")
        made.build([(SHAPES[0], SHAPES[0])])
        assert made.memory() == {"file_bytes": 77, "weights_bytes": None, "activations_bytes": 4096}
        facts = made.facts()
        assert (facts["layers"], facts["attention_layers"], facts["strongly_typed"]) == (3, 1, typed)


def test_kernels_of_an_engine_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is built before its shapes are opened; without torch the cell says what it lacks."""
    made = opened(monkeypatch, True, "fp16")
    monkeypatch.setattr(cells, "_open", lambda *given: made)
    counted = {"kernels": 4.0, "copies": 0.0, "busy_ms": 1.0, "fused_attention": 2.0, "top": []}
    monkeypatch.setattr(cells.kernels, "profile", lambda session, device: counted)
    params = {"model": "deep", "backend": "trt", "precision": "fp16", "shapes": [[1, 8], [2, 8]]}
    found = cells.kernel_counts(params, Around(TINY, "cuda", None, {}))["shapes"]
    assert list(found) == ["1x8", "2x8"]
    assert (found["2x8"]["kernels_a_layer"], found["2x8"]["gap_ms"]) == (2.0, 0.5)
    results = {"kernels/deep/trt-fp16": {"shapes": found}}
    assert expectations.why(results, "deep", "trt-fp16", SHAPES[0])["kernels_a_layer"] == 2.0
    monkeypatch.setattr(cells, "find_spec", lambda name: None)
    with pytest.raises(Skip, match="torch is not installed"):
        cells.kernel_counts(params, Around(TINY, "cuda", None, {}))


def test_what_the_parser_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's own message is in the sentence."""
    made = opened(monkeypatch, True, "fp16", parses=False)
    with pytest.raises(UserError, match=r"cannot parse.*In node 3 \(Attention\)"):
        made.build([(SHAPES[0], SHAPES[0])])


def _names_used() -> set[tuple[str, str]]:
    """Every ``trt.Class`` and ``trt.Class.MEMBER`` that the backend's source names."""
    found = set()
    for node in ast.walk(ast.parse(inspect.getsource(backend))):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Attribute) and _is_trt(node.value.value):
            found.add((node.value.attr, node.attr))
        elif _is_trt(node.value) and node.attr != "__version__":
            found.add((node.attr, ""))
    return found


def _is_trt(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in ("trt", "tensorrt")) or (
        isinstance(node, ast.Attribute) and node.attr == "trt"
    )


# Members that are called on objects, by class.
_CALLED = {
    "Builder": ("create_network", "create_builder_config", "create_optimization_profile",
                "build_serialized_network"),
    "OnnxParser": ("parse_from_file", "get_error", "num_errors"),
    "IBuilderConfig": ("set_memory_pool_limit", "profiling_verbosity", "add_optimization_profile",
                       "set_preview_feature"),
    "IOptimizationProfile": ("set_shape",),
    "INetworkDefinition": ("num_inputs", "get_input"),
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": ("create_execution_context", "get_tensor_name", "num_io_tensors", "get_tensor_mode",
                    "get_tensor_dtype", "create_engine_inspector"),
    "IExecutionContext": ("set_optimization_profile_async", "set_input_shape", "get_tensor_shape",
                          "set_tensor_address", "execute_async_v3"),
    "EngineInspector": ("get_engine_information",),
}  # fmt: skip
# Asked for only where the version has them (``hasattr``, or weak typing).
_PROBED = {("PreviewFeature", "PROFILE_SHARING_0806"), ("BuilderFlag", "FP16"), ("BuilderFlag", "INT8"),
           ("EngineStat", ""), ("EngineStat", "TOTAL_WEIGHTS_SIZE")}  # fmt: skip


@pytest.mark.parametrize("version", ["api86", "api10", "api11"])
def test_every_name_exists_in_the_real_bindings(shared: Path, version: str) -> None:
    """Against the listings taken from the real bindings of TensorRT 8.6, 10 and 11."""
    api = json.loads((shared / "design" / "gpu_api" / f"{version}.json").read_text())["api"]
    used = _names_used()
    assert ("MemoryPoolType", "WORKSPACE") in used
    for name, member in sorted(used - _PROBED):
        assert name in api, name
        if member:
            known = {*api[name].get("enum", ()), *api[name].get("members", ())}
            assert member in known, (name, member)
    for name, members in _CALLED.items():
        for member in members:
            assert member in api[name]["members"], (name, member)
    typed = "STRONGLY_TYPED" in api["NetworkDefinitionCreationFlag"]["enum"]
    if typed:
        assert version != "api86"
    else:
        assert {"FP16", "INT8"} <= set(api["BuilderFlag"]["enum"])
        assert "EXPLICIT_BATCH" in api["NetworkDefinitionCreationFlag"]["enum"]
        assert {"get_tactic_sources", "set_tactic_sources", "set_flag"} <= set(
            api["IBuilderConfig"]["members"]
        )


def test_driver_errors_are_raised_with_name_and_number() -> None:
    """No return code is dropped."""
    cuda = fake_gpu_libraries.Cuda()
    made = driver.Driver(cuda)
    cuda.broken["cuMemAlloc_v2"] = 2
    with pytest.raises(RuntimeError, match="cuMemAlloc_v2 returned CUDA error 2"):
        made.allocate(8)


def test_a_broken_capture_is_ended_and_its_own_error_told() -> None:
    """The stream leaves the capture even when what is captured fails."""
    cuda = fake_gpu_libraries.Cuda()
    made = driver.Driver(cuda)

    def fails() -> None:
        raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        made.capture(made.stream(), fails)
    assert cuda.calls[-1] == "cuStreamEndCapture"


def test_pinned_memory_is_an_array() -> None:
    """Of the shape and type that was asked for."""
    made = driver.Driver(fake_gpu_libraries.Cuda()).pinned((2, 3), np.dtype("float16"))
    assert (made.shape, made.dtype) == ((2, 3), np.float16)
    assert fake_gpu_libraries.pinned_is_writable(made)


def test_without_a_driver_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no traceback of ctypes."""

    def no_library(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(driver.c, "CDLL", no_library)
    with pytest.raises(UserError, match="no CUDA driver here"):
        driver.Driver()
    assert nvml.open_device() is None


def test_the_event_clock_is_the_one_of_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT's clock and torch's are one class with events of their own."""
    made = opened(monkeypatch, True, "fp16")
    assert isinstance(made.clock, timing.EventClock)


class Streams:
    """Stands for ``torch.cuda``: streams, events and graphs that write down what is called."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        names = ("Stream", "Event", "CUDAGraph", "graph", "stream", "current_stream")
        for name in names:
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def _stream(self, name: str) -> Any:
        log = self.calls.append
        return types.SimpleNamespace(
            cuda_stream=4711,
            wait_stream=lambda other: log(f"{name} waits"),
            synchronize=lambda: log(f"{name} synchronized"),
        )

    def Stream(self) -> Any:  # noqa: N802 - torch's name
        return self._stream("side")

    def current_stream(self) -> Any:
        return self._stream("current")

    def Event(self, enable_timing: bool) -> Any:  # noqa: N802
        assert enable_timing
        log = self.calls.append
        return types.SimpleNamespace(
            record=lambda stream=None: log("record" if stream is None else f"record on {stream.cuda_stream}"),
            synchronize=lambda: log("event synchronized"),
            elapsed_time=lambda later: 2.0,
        )

    def CUDAGraph(self) -> Any:  # noqa: N802
        return types.SimpleNamespace(replay=lambda: self.calls.append("replay"))

    @contextmanager
    def graph(self, graph: Any) -> Iterator[None]:
        self.calls.append("capture begins")
        yield
        self.calls.append("capture ends")

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.calls.append("on side")
        yield
        self.calls.append("off side")


def test_torch_graphs_are_warmed_up_aside_captured_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three runs on a side stream that both sides wait for, one captured run, then replays alone."""
    cuda = Streams(monkeypatch)

    def model(**inputs: Any) -> Any:
        cuda.calls.append("forward")
        return types.SimpleNamespace(logits=inputs["input_ids"][:, :2].float())

    shape = Shape(2, 8)
    session = _torch.Session(model, torch.float32, shape, backends.feeds(shape, 64), "cpu", graph=True)
    assert cuda.calls == [
        "side waits",
        "on side",
        *["forward"] * 3,
        "off side",
        "current waits",
        "capture begins",
        "forward",
        "capture ends",
    ]
    cuda.calls.clear()
    session.enqueue()
    session.enqueue()
    assert cuda.calls == ["replay", "replay"]


def test_torch_events_time_the_current_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record, run, record, wait for the event; the time is the event's."""
    cuda = Streams(monkeypatch)
    clock = _torch.clock("cuda")
    session = types.SimpleNamespace(enqueue=lambda: cuda.calls.append("enqueue"))
    taken, host = clock.time(session)  # type: ignore[arg-type]
    assert cuda.calls == ["record", "enqueue", "record", "event synchronized"]
    assert (taken, clock.name) == (2.0, "gpu_ms")
    assert host is not None


def test_onnxruntime_computes_on_the_stream_that_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session gets our stream and the graph switch; events go on that stream; a fall-back is refused."""
    cuda = Streams(monkeypatch)
    made: list[Any] = []
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def session(path: str, options: Any, providers: Any) -> Any:
        made.append(providers)
        return types.SimpleNamespace(get_providers=lambda: there)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    there = providers
    opened_ = ort.Opened(Given("m", None, None, {}), "fp16", "cuda")
    for graph, switch in ((False, "0"), (True, "1")):
        opened_.open(graph)
        ((name, settings),) = made.pop()
        assert name == "CUDAExecutionProvider"
        assert settings["user_compute_stream"] == "4711"
        assert settings["enable_cuda_graph"] == switch
        assert settings["use_tf32"] == "0"
    opened_.clock.time(types.SimpleNamespace(enqueue=lambda: cuda.calls.append("enqueue")))  # type: ignore[arg-type]
    assert cuda.calls[:3] == ["record on 4711", "enqueue", "record on 4711"]
    there = ["CPUExecutionProvider"]
    with pytest.raises(RuntimeError, match="runs on CPUExecutionProvider, not on CUDAExecutionProvider"):
        opened_.open(False)
