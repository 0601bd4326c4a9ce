"""TensorRT 8.6 to 11 through its Python bindings and the CUDA driver; no torch.

One code path, chosen by the names that the bindings have: where networks can be strongly typed, the
graph's own types are the precision; where they cannot (8.6), an FP32 graph and builder flags are. One
engine a set of shapes, with one fixed optimization profile for each. TensorRT-RTX is left out: its
runtime does not support data-center GPUs of compute capability 9.0.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from compress.errors import UserError
from studies.gpu import timing
from studies.gpu.backends import Feed, Subject
from studies.gpu.driver import Driver, Event
from studies.gpu.plan import Shape

_WORKSPACE_BYTES = 4 << 30
_TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64"}
# Libraries of their own that 8.6 would load for these; on a bare machine they may be stand-ins.
_FOREIGN = ("CUBLAS", "CUBLAS_LT", "CUDNN")


def missing(device: str, precision: str) -> str | None:
    """Why it cannot run here."""
    if device != "cuda":
        return "TensorRT runs on a GPU only"
    try:
        import tensorrt
    except ImportError as cause:
        return f"tensorrt cannot be imported ({cause})"
    if not hasattr(tensorrt, "Builder"):
        return "the tensorrt that is installed has no builder"
    return None


def strongly_typed(trt: Any) -> bool:
    """Whether networks of this version can take their precision from the graph."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def numpy_type(dtype: Any) -> np.dtype[Any]:
    """Numpy's name for an engine's type (the bindings' own helper breaks with some versions of numpy).

    Raises:
        ValueError: a type that no input or output here should have.
    """
    name = str(dtype).rsplit(".", 1)[-1]
    if name not in _TYPES:
        raise ValueError(f"a binding has type {name}; expected one of {', '.join(_TYPES)}")
    return np.dtype(_TYPES[name])


def creation_flags(trt: Any) -> int:
    """Flags for ``create_network``, from the names that this version has."""
    flags = trt.NetworkDefinitionCreationFlag
    if hasattr(flags, "STRONGLY_TYPED"):
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH)


def configure(trt: Any, builder: Any, precision: str) -> Any:
    """A builder configuration: workspace, detailed inspection, and precision flags where types are weak."""
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not strongly_typed(trt):
        sources = config.get_tactic_sources()
        for name in _FOREIGN:
            if hasattr(trt.TacticSource, name):
                sources &= ~(1 << int(getattr(trt.TacticSource, name)))
        config.set_tactic_sources(sources)
        if precision in ("fp16", "int8"):
            config.set_flag(trt.BuilderFlag.FP16)
        if precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
    # 8.6 lets one context at a time use a profile unless it is asked for more; 10 does so anyway, and 11
    # has no name for it.
    if hasattr(trt, "PreviewFeature") and hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    return config


def _accepted(done: bool, what: str) -> None:
    """TensorRT answers with a boolean, and works on with what was there before.

    Raises:
        RuntimeError: it refused.
    """
    if not done:
        raise RuntimeError(f"TensorRT refused {what} (its log says why)")


class Session:
    """One execution context on one profile, with fixed buffers."""

    def __init__(
        self, opened: Opened, profile: int, shape: Shape, feeds: Sequence[Feed], graph: bool
    ) -> None:
        self._driver, self._stream = opened.driver, opened.stream
        self._addresses: dict[str, Any] = {}
        self._host: list[dict[str, np.ndarray]] = []
        self._landing: Any = None
        self._context: Any = None
        self._graph: Any = None
        try:
            self._open(opened, profile, shape, feeds, graph)
        except BaseException:
            # What was made so far must not stay; the error that stopped it is the one to tell.
            with suppress(RuntimeError):
                self.close()
            raise

    def _open(self, opened: Opened, profile: int, shape: Shape, feeds: Sequence[Feed], graph: bool) -> None:
        trt, engine, driver = opened.trt, opened.engine, opened.driver
        context = self._context = engine.create_execution_context()
        if context is None:
            raise RuntimeError(f"TensorRT made no context for {shape} (its log says why): out of memory?")
        _accepted(
            context.set_optimization_profile_async(profile, self._stream.value),
            f"profile {profile} for {shape}",
        )
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        (output,) = [name for name in names if name not in inputs]
        for name in inputs:
            _accepted(
                context.set_input_shape(name, (shape.batch, shape.length)), f"shape {shape} of '{name}'"
            )
        self.sets = len(feeds)
        for feed in feeds:
            pinned: dict[str, np.ndarray] = {}
            self._host.append(pinned)
            for name in inputs:
                dtype = numpy_type(engine.get_tensor_dtype(name))
                pinned[name] = driver.pinned((shape.batch, shape.length), dtype)
                pinned[name][...] = feed[name]
        dtype = numpy_type(engine.get_tensor_dtype(output))
        landing = self._landing = driver.pinned(tuple(context.get_tensor_shape(output)), dtype)
        sizes = {name: array.nbytes for name, array in (*self._host[0].items(), (output, landing))}
        for name, size in sizes.items():
            self._addresses[name] = driver.allocate(size)
            _accepted(
                context.set_tensor_address(name, self._addresses[name].value), f"the address of '{name}'"
            )
        self._output = output
        self.load(0)
        self._execute()  # before a capture: the first run of a context may allocate
        self.synchronize()
        if graph:
            self._graph = driver.capture(self._stream, self._execute)

    def _execute(self) -> None:
        _accepted(self._context.execute_async_v3(self._stream.value), "to enqueue")

    def load(self, index: int) -> None:
        """Queue the copy of an input set."""
        for name, array in self._host[index].items():
            self._driver.to_device(self._addresses[name], array, self._stream)

    def enqueue(self) -> None:
        """Launch the graph, or the context."""
        if self._graph is not None:
            self._driver.launch(self._graph, self._stream)
        else:
            self._execute()

    def fetch(self) -> None:
        """Queue the copy of the output."""
        self._driver.to_host(self._landing, self._addresses[self._output], self._stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self._driver.synchronize(self._stream)

    def outputs(self) -> np.ndarray:
        """Logits as float32."""
        return self._landing.astype(np.float32)

    def close(self) -> None:
        """Wait for the stream, then give back graph, context and buffers, on the device and pinned."""
        try:
            self.synchronize()
        finally:
            graph, self._graph, self._context = self._graph, None, None
            addresses, self._addresses = self._addresses, {}
            arrays = [array for pinned in self._host for array in pinned.values()]
            arrays += [self._landing] if self._landing is not None else []
            self._host, self._landing = [], None
            if graph is not None:
                self._driver.destroy(graph)
            for address in addresses.values():
                self._driver.free(address)
            for array in arrays:
                self._driver.free_pinned(array)


class Opened:
    """A graph, from which an engine is built for the shapes that are opened; ask for them in ``build``."""

    graphs: tuple[bool, ...] = (False, True)

    def __init__(self, subject: Subject, precision: str, device: str) -> None:
        import tensorrt

        self.trt: Any = tensorrt
        self.precision = precision
        self.typed = strongly_typed(tensorrt)
        self.path = subject.graph(precision if self.typed else _weak(precision), self._typing())
        self.driver = Driver()
        self.stream = self.driver.stream()
        self.clock: timing.Clock = timing.EventClock(lambda: Event(self.driver, self.stream))
        self.logger = tensorrt.Logger(tensorrt.Logger.WARNING)
        self.engine: Any = None
        self._shapes: list[tuple[Shape, Shape]] = []
        self._built: dict[str, Any] = {}

    def _typing(self) -> str:
        return "typed" if self.typed else "weak"

    def build(self, shapes: Sequence[tuple[Shape, Shape]]) -> None:
        """Build an engine with one profile for each (smallest, largest) pair of shapes.

        Raises:
            UserError: the parser or the builder refuses the graph; the message names the node.
        """
        trt = self.trt
        builder = trt.Builder(self.logger)
        network = builder.create_network(creation_flags(trt))
        parser = trt.OnnxParser(network, self.logger)
        if not parser.parse_from_file(str(self.path)):
            errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
            raise UserError(f"TensorRT {trt.__version__} cannot parse {self.path.name}: {'; '.join(errors)}")
        config = configure(trt, builder, self.precision)
        for smallest, largest in shapes:
            profile = builder.create_optimization_profile()
            low, high = (smallest.batch, smallest.length), (largest.batch, largest.length)
            for i in range(network.num_inputs):
                profile.set_shape(network.get_input(i).name, low, high, high)
            config.add_optimization_profile(profile)
        started = time.perf_counter()
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise UserError(f"TensorRT {trt.__version__} built no engine from {self.path.name}; see its log")
        self._built = {"build_seconds": time.perf_counter() - started, "plan_bytes": int(plan.nbytes)}
        self._runtime = trt.Runtime(self.logger)
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise RuntimeError("the engine that was just built cannot be deserialized")
        self._shapes = list(shapes)

    def session(self, shape: Shape, feeds: Sequence[Feed], graph: bool) -> Session:
        """Open a shape on the profile that holds it."""
        for index, (low, high) in enumerate(self._shapes):
            if low.batch <= shape.batch <= high.batch and low.length <= shape.length <= high.length:
                return Session(self, index, shape, feeds, graph)
        raise ValueError(f"no profile holds {shape}: the engine was built for {self._shapes}")

    def memory(self) -> dict[str, int | None]:
        """Plan, weights where this version tells them, activations of the largest profile."""
        weights = activations = None
        if hasattr(self.trt, "EngineStat") and hasattr(self.engine, "get_engine_stat"):
            weights = int(self.engine.get_engine_stat(self.trt.EngineStat.TOTAL_WEIGHTS_SIZE))
        for name in ("device_memory_size_v2", "device_memory_size"):
            if activations is None and hasattr(self.engine, name):
                activations = int(getattr(self.engine, name))
        return {
            "file_bytes": self._built.get("plan_bytes"),
            "weights_bytes": weights,
            "activations_bytes": activations,
        }

    def facts(self) -> dict[str, Any]:
        """Version, how precision was asked for, layers and fused attention as the inspector tells them."""
        inspector = self.engine.create_engine_inspector()
        told = inspector.get_engine_information(self.trt.LayerInformationFormat.JSON)
        layers = json.loads(told).get("Layers", [])
        names = [one.get("Name", "") if isinstance(one, dict) else str(one) for one in layers]
        return {
            "tensorrt": self.trt.__version__,
            "precision": self.precision,
            "strongly_typed": self.typed,
            "graph": self.path.parent.name,
            "profiles": [[str(low), str(high)] for low, high in self._shapes],
            "layers": len(names),
            "attention_layers": sum("mha" in name.lower() for name in names),
            **self._built,
        }


def _weak(precision: str) -> str:
    """Where types are weak, FP16 is a flag over the FP32 graph."""
    return "int8" if precision == "int8" else "fp32"
