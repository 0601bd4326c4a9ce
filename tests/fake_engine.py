"""A TensorRT that computes with a Python function and refuses every call that comes in a wrong order."""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import fake_cuda
import numpy as np

from deploy.tensorrt import layer_times

Compute = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
NUMPY = {"INT64": np.int64, "INT32": np.int32, "FLOAT": np.float32, "HALF": np.float16}


STREAMING_BUFFERS = 512


class Mode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class Strategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class IProfiler:
    """What a profiler is made of; TensorRT's own must be initialized too."""

    def __init__(self) -> None:
        self.initialized = True


class EngineStat(enum.Enum):
    TOTAL_WEIGHTS_SIZE = 0


DataType = enum.Enum("DataType", [*NUMPY, "FP8"])


class Context:
    """Shapes, then addresses, then execution; all on the engine's device."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.profile: int | None = None
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.memory: tuple[int, int] | None = None
        self.executed = 0
        self.profiler: Any = None

    def _check_device(self) -> None:
        assert fake_cuda.Device.now[-1:] == [self.engine.device], "another device is current"

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self.engine.scratch
        self.memory = (address, size)

    def set_optimization_profile_async(self, index: int, handle: int) -> bool:
        self._check_device()
        assert handle in fake_cuda.Stream.by_handle
        assert self.memory is not None, "a profile was set before there was scratch memory"
        self.profile = index
        self.shapes.clear()
        return index < len(self.engine.profiles)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert self.profile is not None, "a shape was set before the profile"
        low, _, high = self.engine.profiles[self.profile][name]
        self.shapes[name] = tuple(shape)
        return all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.inputs if name not in self.shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.shapes:
            return self.shapes[name]
        batch, length = self.shapes["input_ids"]
        return tuple({"B": batch, "L": length}.get(size, size) for size in self.engine.outputs[name])

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert not self.infer_shapes(), "an address was set before the shapes"
        self.addresses[name] = address
        return True

    def execute_async_v3(self, handle: int) -> bool:
        self._check_device()
        assert self.memory is not None
        assert not self.infer_shapes()
        missing = set(self.engine.types) - set(self.addresses)
        assert not missing, f"execution without an address for {missing}"
        self.executed += 1
        addresses = dict(self.addresses)
        shapes = {name: self.get_tensor_shape(name) for name in self.engine.types}

        def kernel() -> None:
            arrays = {
                name: fake_cuda.at(addresses[name], shapes[name], self.engine.numpy(name))
                for name in self.engine.types
            }
            outputs = self.engine.compute({name: arrays[name] for name in self.engine.inputs})
            for name, array in outputs.items():
                arrays[name][...] = array

        fake_cuda.Stream.by_handle[handle].enqueue(kernel)
        if self.profiler is not None:
            assert fake_cuda.Stream.by_handle[handle].recording is None, "a profiled run cannot be captured"
            first = self.executed == 1
            for layer, milliseconds in self.engine.layers.items():
                self.profiler.report_layer_time(layer, milliseconds * (100 if first else 1))
        return True


class Context8(Context):
    """TensorRT 8: scratch memory is an attribute."""

    set_device_memory = None  # type: ignore[assignment]
    engine: Engine8

    def set_optimization_profile_async(self, index: int, handle: int) -> bool:
        in_use = any(context is not self and context.profile == index for context in self.engine.live)
        if in_use and not self.engine.profile_sharing:
            return False
        return super().set_optimization_profile_async(index, handle)

    def __getattribute__(self, name: str) -> Any:
        if name == "set_device_memory":
            raise AttributeError(name)
        return super().__getattribute__(name)

    @property
    def device_memory(self) -> int:
        assert self.memory is not None
        return self.memory[0]

    @device_memory.setter
    def device_memory(self, address: int) -> None:
        self.memory = (address, self.engine.scratch)


class Engine:
    """Inputs, outputs, types and profiles around a function."""

    def __init__(
        self,
        compute: Compute,
        *,
        inputs: list[str],
        outputs: dict[str, tuple[Any, ...]],
        profiles: list[tuple[tuple[int, int], ...]],
        integers: str = "INT64",
        floats: str = "FLOAT",
        scratch: int = 4096,
        scratch_by_profile: list[int] | None = None,
        streamable: int = 0,
    ) -> None:
        self.compute = compute
        self.inputs, self.outputs = inputs, outputs
        self.profiles = [dict.fromkeys(inputs, profile) for profile in profiles]
        self.types = {**dict.fromkeys(inputs, integers), **dict.fromkeys(outputs, floats)}
        self.scratch = scratch
        self._by_profile = scratch_by_profile or [scratch] * len(profiles)
        self.contexts: list[Context] = []
        self.device = -1
        self.layers: dict[str, float] = {}
        self.num_io_tensors = len(self.types)
        self.num_optimization_profiles = len(profiles)
        self.device_memory_size_v2 = scratch
        self.streamable_weights_size = self._budget = streamable

    @property
    def weight_streaming_budget_v2(self) -> int:
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, budget: int) -> None:
        assert self.streamable_weights_size, "the engine was built without weight streaming"
        assert not self.contexts, "the budget was set after a context was made"
        assert 0 <= budget <= self.streamable_weights_size
        self._budget = budget
        # Streaming takes buffers of its own.
        self.scratch += STREAMING_BUFFERS * (budget < self.streamable_weights_size)
        self.device_memory_size_v2, self._by_profile = self.scratch, [self.scratch] * len(self.profiles)

    def numpy(self, name: str) -> Any:
        return NUMPY[self.types[name]]

    def get_tensor_name(self, index: int) -> str:
        return list(self.types)[index]

    def get_tensor_mode(self, name: str) -> Mode:
        return Mode.INPUT if name in self.inputs else Mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        return DataType[self.types[name]]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (
            (-1, -1)
            if name in self.inputs
            else tuple(-1 if isinstance(n, str) else n for n in self.outputs[name])
        )

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return list(self.profiles[index][name])

    def get_device_memory_size_for_profile_v2(self, index: int) -> int:
        return self._by_profile[index]

    def get_engine_stat(self, stat: EngineStat) -> int:
        return 1234

    def create_execution_context(self, strategy: Strategy) -> Context:
        assert strategy is Strategy.USER_MANAGED
        assert fake_cuda.Device.now[-1:] == [self.device]
        self.contexts.append(Context(self))
        return self.contexts[-1]


class Engine8(Engine):
    """TensorRT 8: the names of its time, INT32 for token ids.

    Contexts may share a profile only if the engine was built with ``PROFILE_SHARING_0806``.
    """

    def __init__(self, compute: Compute, *, profile_sharing: bool, **options: Any) -> None:
        super().__init__(compute, integers="INT32", **options)
        self.profile_sharing = profile_sharing
        self.live: weakref.WeakSet[Context] = weakref.WeakSet()
        self.device_memory_size = self.scratch
        del self.device_memory_size_v2

    def __getattribute__(self, name: str) -> Any:
        if name in (
            "create_execution_context",
            "get_device_memory_size_for_profile_v2",
            "get_engine_stat",
            "streamable_weights_size",
            "weight_streaming_budget_v2",
        ):
            raise AttributeError(name)
        return super().__getattribute__(name)

    def create_execution_context_without_device_memory(self) -> Context:
        assert fake_cuda.Device.now[-1:] == [self.device]
        context = Context8(self)
        self.live.add(context)
        return context


class Library:
    """What ``deploy.tensorrt.binding.load`` gives: one engine, whatever the bytes are."""

    def __init__(self, engine: Engine | None, *, version: str = "10.16.1") -> None:
        self.engine = engine
        self.said: list[str] = [] if engine is not None else ["Magic tag does not match"]
        self.can = SimpleNamespace(name=f"TensorRT {version}", version=version)
        new = isinstance(engine, Engine) and not isinstance(engine, Engine8)
        extra = {"ExecutionContextAllocationStrategy": Strategy, "EngineStat": EngineStat} if new else {}
        self.trt = SimpleNamespace(IProfiler=IProfiler, **extra)
        self.deserialized = 0

    def layer_times(self) -> Any:
        return layer_times.create(self.trt)

    def deserialize(self, content: bytes, *, host_code: bool) -> tuple[object, Engine | None]:
        assert fake_cuda.Device.now, "an engine was deserialized with no device made current"
        self.deserialized += 1
        if self.engine is not None:
            self.engine.device = fake_cuda.Device.now[-1]
        return object(), self.engine
