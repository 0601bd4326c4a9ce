"""TensorRT's bindings and the CUDA driver as far as studies.gpu uses them; every call is written down.

Two flavors: ``make(typed=True)`` has the names of TensorRT 10 and 11 (strongly typed networks, no
precision flags), ``make(typed=False)`` those of 8.6. They prove the order and arguments of the calls, and
nothing of what a GPU would do.
"""

from __future__ import annotations

import ctypes
import enum
import types
import weakref
from typing import Any

import numpy as np


class Cuda:
    """``libcuda``: every entry point succeeds and is written down, except those in ``broken``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.broken: dict[str, int] = {}
        self._kept: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            self.calls.append(name)
            if name in self.broken:
                return self.broken[name]
            if name == "cuMemHostAlloc":
                block = ctypes.create_string_buffer(arguments[1].value)
                self._kept.append(block)
                arguments[0]._obj.value = ctypes.addressof(block)
            elif name in ("cuStreamCreate", "cuEventCreate", "cuMemAlloc_v2", "cuGraphInstantiateWithFlags"):
                arguments[0]._obj.value = 1000 + len(self.calls)
            elif name == "cuEventElapsedTime":
                arguments[0]._obj.value = 1.5
            elif name == "cuMemGetInfo_v2":
                arguments[0]._obj.value, arguments[1]._obj.value = 30, 100
            return 0

        return call


class Context:
    """Refuses a profile that another living context has, unless the engine shares them, as 8.6 does."""

    def __init__(self, trt: Any, living: weakref.WeakSet[Context], shares: bool) -> None:
        self.trt, self.log, self.shapes = trt, trt.log, {}  # type: ignore[var-annotated]
        self.profile: int | None = None
        self._living, self._shares = living, shares
        living.add(self)

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if not self._shares and any(one.profile == profile for one in self._living if one is not self):
            return False
        self.profile = profile
        self.log.append(("profile", profile))
        return "set_optimization_profile_async" not in self.trt.refused

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return "set_input_shape" not in self.trt.refused

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes["input_ids"][0], 2

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert isinstance(address, int)
        self.log.append(("address", name))
        return "set_tensor_address" not in self.trt.refused

    def execute_async_v3(self, stream: int) -> bool:
        self.log.append("execute")
        return True


class Engine:
    num_io_tensors = 4
    NAMES = ("input_ids", "attention_mask", "token_type_ids", "logits")

    def __init__(self, trt: Any) -> None:
        self._trt = trt
        self._living: weakref.WeakSet[Context] = weakref.WeakSet()
        setattr(self, "device_memory_size_v2" if trt.typed else "device_memory_size", 4096)

    def get_tensor_name(self, index: int) -> str:
        return self.NAMES[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._trt.TensorIOMode.OUTPUT if name == "logits" else self._trt.TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> Any:
        if name == "logits":
            return self._trt.DataType.FLOAT
        return self._trt.DataType.INT64 if self._trt.typed else self._trt.DataType.INT32

    def create_execution_context(self) -> Context:
        return Context(
            self._trt, self._living, self._trt.typed or ("preview", "PROFILE_SHARING_0806") in self._trt.log
        )

    def create_engine_inspector(self) -> Any:
        layers = '{"Layers": [{"Name": "a"}, {"Name": "layer_0/_mha_v2"}, {"Name": "b"}]}'
        return types.SimpleNamespace(get_engine_information=lambda form: layers)


def make(typed: bool, parses: bool = True) -> Any:
    """A module; ``log`` holds what was called, ``refused`` names of methods that answer False."""
    log: list[Any] = []
    trt: Any = types.ModuleType("tensorrt")
    trt.__version__, trt.typed, trt.log = ("10.16.1" if typed else "8.6.0"), typed, log
    trt.refused = set()
    kinds = ["EXPLICIT_BATCH", *(["STRONGLY_TYPED"] if typed else [])]
    trt.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", kinds, start=0)
    trt.TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
    trt.DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT32", "INT64"])
    trt.MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
    trt.ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
    trt.LayerInformationFormat = enum.Enum("LayerInformationFormat", ["JSON"])
    if not typed:
        trt.BuilderFlag = enum.IntEnum("BuilderFlag", ["FP16", "INT8"])
        trt.PreviewFeature = enum.Enum("PreviewFeature", ["PROFILE_SHARING_0806"])
        trt.TacticSource = enum.IntEnum("TacticSource", ["CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE"], start=0)

    class Logger:
        WARNING = 2

        def __init__(self, level: int) -> None:
            self.level = level

    class Config:
        profiling_verbosity = None

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            log.append(("workspace", size))

        def add_optimization_profile(self, profile: Any) -> int:
            log.append(("add profile", tuple(profile.ranges["input_ids"])))
            return 0

        def set_preview_feature(self, feature: Any, on: bool) -> None:
            log.append(("preview", feature.name))

        if not typed:

            def get_tactic_sources(self) -> int:
                return 0b1111

            def set_tactic_sources(self, sources: int) -> None:
                log.append(("sources", sources))

            def set_flag(self, flag: Any) -> None:
                log.append(("flag", flag.name))

    class Profile:
        def __init__(self) -> None:
            self.ranges: dict[str, Any] = {}

        def set_shape(self, name: str, low: Any, best: Any, high: Any) -> None:
            self.ranges[name] = (low, best, high)

    class Builder:
        def __init__(self, logger: Logger) -> None:
            pass

        def create_network(self, flags: int) -> Any:
            log.append(("network", flags))
            inputs = [types.SimpleNamespace(name=name) for name in Engine.NAMES[:3]]
            return types.SimpleNamespace(num_inputs=3, get_input=inputs.__getitem__)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Any, config: Config) -> Any:
            log.append("build")
            return types.SimpleNamespace(nbytes=77)

    class OnnxParser:
        num_errors = 1

        def __init__(self, network: Any, logger: Logger) -> None:
            pass

        def parse_from_file(self, path: str) -> bool:
            log.append(("parse", path))
            return parses

        def get_error(self, index: int) -> str:
            return "In node 3 (Attention): not supported"

    trt.Logger, trt.Builder, trt.OnnxParser = Logger, Builder, OnnxParser
    trt.Runtime = lambda logger: types.SimpleNamespace(deserialize_cuda_engine=lambda plan: Engine(trt))
    return trt


def nvml(**values: Any) -> Any:
    """``libnvidia-ml``: answers numbers by entry point; what is not named is not supported (3)."""

    class Library:
        def __getattr__(self, name: str) -> Any:
            if name in ("nvmlInit_v2", "nvmlDeviceGetHandleByIndex_v2"):
                return lambda *arguments: values.get(name, 0)
            if name not in values:
                return lambda *arguments: 3
            answer = values[name]

            def call(*arguments: Any) -> int:
                if callable(answer):
                    return int(answer(*arguments))
                arguments[-1]._obj.value = answer
                return 0

            return call

    return Library()


def pinned_is_writable(array: np.ndarray) -> bool:
    """Whether an array can be written to and reads back."""
    array[...] = 3
    return bool((array == 3).all())
