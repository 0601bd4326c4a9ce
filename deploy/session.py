"""Opening an ONNX graph in ONNX Runtime: one place that sets threads, providers and spinning."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import environment
from compress.errors import ModelError, UserError, first_line

if TYPE_CHECKING:
    from deploy.checking.parity import Infer

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
TENSORRT = "TensorrtExecutionProvider"
_HEAVY = frozenset(
    {
        *("MatMul", "FusedMatMul", "Gemm", "Conv", "MatMulInteger", "QLinearMatMul"),
        *("Attention", "MultiHeadAttention", "LayerNormalization", "SkipLayerNormalization", "Softmax"),
    }
)


def onnxruntime() -> Any:
    """The library, or the sentence that says how to install it."""
    return environment.require("onnxruntime", extra="cpu", purpose="to run ONNX graphs")


def provider(device: str) -> str:
    """The execution provider that stands for a device.

    Raises:
        UserError: no provider does.
    """
    family = device.split(":", 1)[0]
    if family not in _PROVIDERS:
        raise UserError(f"ONNX Runtime has no provider for device '{device}'. Allowed: cpu, cuda, cuda:N.")
    return _PROVIDERS[family]


def options(threads: int | None) -> Any:
    """Session options: a fixed number of threads that spin within a run and sleep between runs.

    Spinning between runs makes the idle session of one candidate steal time from the others.
    """
    chosen = onnxruntime().SessionOptions()
    chosen.intra_op_num_threads = threads or environment.cpu_count()
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 4  # what it logs of a failure is in its exception, and so in our sentence
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "1")
    chosen.add_session_config_entry("session.force_spinning_stop", "1")
    return chosen


_REFUSALS = (
    *("Fail", "InvalidArgument", "NoSuchFile", "NoModel", "EngineError", "RuntimeException"),
    *("InvalidProtobuf", "ModelLoaded", "NotImplemented", "InvalidGraph", "EPFail", "NotFound"),
)


def refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises of a graph that it cannot open or run."""
    state = onnxruntime().capi.onnxruntime_pybind11_state
    classes = tuple(getattr(state, name) for name in _REFUSALS if hasattr(state, name))
    return (*classes, RuntimeError, MemoryError)


def refused(graph: Path, cause: BaseException) -> ModelError:
    """The sentence for a graph that ONNX Runtime cannot open or run."""
    return ModelError(
        f"ONNX Runtime cannot open or run {graph} ({first_line(cause)}): export the model again"
    )


@contextlib.contextmanager
def given(graph: Path) -> Iterator[None]:
    """Around ONNX Runtime's work on a graph that was handed to us: what it refuses is one sentence.

    Only for the files of artifacts. What it says of a graph that paredown made is a bug, and keeps its
    traceback.

    Args:
        graph: the file, for the message.

    Raises:
        ModelError: ONNX Runtime cannot open or run it.
    """
    try:
        yield
    except refusals() as cause:
        raise refused(graph, cause) from cause


def preload(ort: Any) -> None:
    """Load the CUDA libraries of the installed wheels, which the system's loader does not find by itself."""
    if hasattr(ort, "preload_dlls"):  # from 1.21
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            ort.preload_dlls()


def open_session(
    graph: Path | bytes,
    device: str = "cpu",
    threads: int | None = None,
    optimize: bool = True,
    providers: Sequence[tuple[str, Mapping[str, str]]] = (),
    profile: Path | None = None,
) -> Any:
    """An inference session on exactly the provider that the device names.

    Args:
        graph: file, or serialized model.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the session; all CPUs when None.
        optimize: whether ONNX Runtime may rewrite the graph.
        providers: with their settings, the wanted one first; the device's own when empty.
        profile: how the name of a profile begins that ``end_profiling`` writes; none when absent.

    Raises:
        UserError: the provider is not the one that opened.
    """
    ort = onnxruntime()
    preferences = list(providers) or [(provider(device), device_settings(device))]
    primary = preferences[0][0]
    chosen = options(threads)
    if not optimize:
        chosen.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(profile)
    source = str(graph) if isinstance(graph, Path) else graph
    on_device = primary != _PROVIDERS["cpu"]
    if on_device:
        preload(ort)
        chosen.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(
        source, sess_options=chosen, providers=[(name, dict(settings)) for name, settings in preferences]
    )
    session.disable_fallback()
    if session.get_providers()[0] != primary:
        raise UserError(
            f"'{device}' was asked for and ONNX Runtime opened the graph on "
            f"{', '.join(session.get_providers())}: its {primary} cannot be loaded here "
            "(paredown doctor says what is missing); use --device cpu"
        )
    if on_device:
        left = misplaced(placement(session), [name for name, _ in preferences])
        if left:
            raise UserError(
                f"'{device}' was asked for and {primary} left {len(left)} heavy nodes to the CPU "
                f"(such as {left[0]}): this graph does not run there; use --device cpu or another precision"
            )
    return session


def placement(session: Any) -> list[tuple[str, str, str]]:
    """Provider, operator and name of every node, for a session that recorded them."""
    return [
        (part.ep_name, node.op_type, node.name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def device_settings(device: str) -> dict[str, str]:
    """The provider setting that names one of several devices."""
    return {"device_id": device.split(":", 1)[1]} if ":" in device else {}


def misplaced(placed: Sequence[tuple[str, str, str]], allowed: Sequence[str]) -> list[str]:
    """Names of the heavy nodes that none of the wanted providers runs.

    Shape arithmetic stays on the CPU on purpose; products, norms and softmax there mean that the
    device computes next to nothing and waits for copies.
    """
    return [name or op for owner, op, name in placed if owner not in allowed and op in _HEAVY]


def infer_with(session: Any, seconds: float | None = None) -> Infer:
    """A function from feed to named outputs, on the CPU.

    Args:
        session: open.
        seconds: after which a run is ended, which ONNX Runtime then refuses; None for no limit. It looks
            between two nodes, so that a loop without an end is ended, and one long node is not.
    """
    names = [output.name for output in session.get_outputs()]

    def infer(feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if seconds is None:
            return dict(zip(names, session.run(names, dict(feed)), strict=True))
        run = onnxruntime().RunOptions()
        timer = threading.Timer(seconds, lambda: setattr(run, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return dict(zip(names, session.run(names, dict(feed), run), strict=True))
        finally:
            timer.cancel()

    return infer
