"""A stand-in for TensorRT where only a GPU could answer: engines that remember what they were built with.

Only names of ``deploy.tensorrt.names`` are here, and those that a version lacks are left out, so that
the adapter meets the same presence and absence as with the real module (``test_tensorrt_contract``
holds those names against the real ones).
"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx

from deploy.tensorrt import capabilities
from deploy.tensorrt.gpu import Gpu

H200 = Gpu(name="NVIDIA H200", compute_capability="9.0", memory_bytes=150 << 30, driver="580.10", cuda="13.0")


def module(version: str = "10.16.1", report: dict[str, Any] | None = None, refuses: str = "") -> ModuleType:
    """A module like TensorRT of a version.

    Args:
        version: 8.x lacks typed networks, 11.x the precision flags.
        report: the inspector's answer; None: no engine opens again.
        refuses: what the builder says instead of giving an engine.
    """
    major = int(version.split(".")[0])
    trt = ModuleType("tensorrt")
    trt.built = []  # type: ignore[attr-defined]  # what each engine was built with, for the tests

    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    class ILogger:
        def __init__(self) -> None:
            self.ready = True

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    class IProgressMonitor:
        def __init__(self) -> None:
            self.ready = True

    flags = ["TF32", "REFIT", "VERSION_COMPATIBLE"]
    flags += ["FP16", "INT8"] if major < 11 else []
    flags += ["BF16", "FP8"] if major == 10 else []
    flags += ["STRIP_PLAN", "WEIGHT_STREAMING"] if major >= 10 else []
    BuilderFlag = enum.Enum("BuilderFlag", flags)  # type: ignore[misc]
    creation = (["EXPLICIT_BATCH"] if major < 11 else []) + (["STRONGLY_TYPED"] if major >= 10 else [])
    Creation = enum.IntEnum("Creation", [(name, i) for i, name in enumerate(creation)])  # type: ignore[misc]
    previews = ["PROFILE_SHARING_0806"] if major < 11 else []
    Preview = enum.Enum("Preview", previews)  # type: ignore[misc]
    levels = ["NONE", "AMPERE_PLUS", *(["SAME_COMPUTE_CAPABILITY"] if major >= 10 else [])]

    class Tensor:
        def __init__(self, name: str, shape: tuple[int, ...]) -> None:
            self.name, self.shape = name, shape

    class Network:
        def __init__(self, flags: int) -> None:
            self.flags = flags
            self.tensors: list[Tensor] = []

        @property
        def num_inputs(self) -> int:
            return len(self.tensors)

        def get_input(self, index: int) -> Tensor:
            return self.tensors[index]

    class ParserError:
        def __init__(self, node: int, desc: str) -> None:
            self._node, self._desc = node, desc

        def node(self) -> int:
            return self._node

        def desc(self) -> str:
            return self._desc

    if major >= 10:
        ParserError.node_name = lambda self: "named"  # type: ignore[attr-defined]
        ParserError.node_operator = lambda self: "Einsum"  # type: ignore[attr-defined]

    class OnnxParser:
        def __init__(self, network: Network, logger: ILogger) -> None:
            if not logger.ready:
                raise TypeError("the logger was not made")
            self.network, self.errors = network, []  # type: ignore[var-annotated]

        def parse_from_file(self, model: str) -> bool:
            graph = onnx.load(model).graph
            self.errors = [
                ParserError(i, "no importer") for i, node in enumerate(graph.node) if node.op_type == "Einsum"
            ]
            self.network.tensors = [
                Tensor(entry.name, tuple(size.dim_value or -1 for size in entry.type.tensor_type.shape.dim))
                for entry in graph.input
            ]
            return not self.errors

        @property
        def num_errors(self) -> int:
            return len(self.errors)

        def get_error(self, index: int) -> ParserError:
            return self.errors[index]

    class Cache:
        def __init__(self, content: bytes) -> None:
            self.content = content

        def serialize(self) -> bytes:
            return self.content + b"+timed"

    class Optimization:
        def __init__(self) -> None:
            self.shapes: dict[str, Any] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            self.shapes[input] = (min, opt, max)

    class Config:
        def __init__(self) -> None:
            self.flags = {"TF32"}
            self.profiles: list[Optimization] = []
            self.cache: Cache | None = None
            self.workspace: int | None = None
            self.builder_optimization_level = 3
            self.hardware_compatibility_level: Any = None
            self.profiling_verbosity: Any = None
            self.preview: list[str] = []

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            if enable:
                self.preview.append(feature.name)

        def set_flag(self, flag: Any) -> None:
            self.flags.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self.flags.discard(flag.name)

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self.workspace = pool_size

        def add_optimization_profile(self, profile: Optimization) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def create_timing_cache(self, serialized_timing_cache: bytes) -> Cache | None:
            return None if serialized_timing_cache == b"of another GPU" else Cache(serialized_timing_cache)

        def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
            self.cache = cache
            return not ignore_mismatch

        def get_timing_cache(self) -> Cache | None:
            return self.cache

    if major >= 10:
        Config.progress_monitor = None  # type: ignore[attr-defined]

    class Builder:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def create_network(self, flags: int) -> Network:
            return Network(flags)

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Optimization:
            return Optimization()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            watch = getattr(config, "progress_monitor", None)
            if watch is not None:
                watch.phase_start("Building", None, 2)
                going = all(watch.step_complete("Building", i) for i in range(2))
                watch.phase_finish("Building")
                if not going:
                    return None
            if refuses:
                self.logger.log(Severity.ERROR, refuses)
                return None
            plan = {
                "network": network.flags,
                "flags": sorted(config.flags),
                "preview": config.preview,
                "profiles": [profile.shapes for profile in config.profiles],
                "workspace": config.workspace,
                "level": config.builder_optimization_level,
                "hardware": getattr(config.hardware_compatibility_level, "name", None),
                "timings": config.cache.content.decode() if config.cache else None,
                "verbosity": config.profiling_verbosity.name,
            }
            trt.built.append(plan)  # type: ignore[attr-defined]
            return json.dumps(plan).encode()

    class Inspector:
        def get_engine_information(self, format: Any) -> str:
            return json.dumps(report)

    class Engine:
        def create_engine_inspector(self) -> Inspector:
            return Inspector()

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger
            self.engine_host_code_allowed = False

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            own_code = "VERSION_COMPATIBLE" in json.loads(serialized_engine)["flags"]
            refused = report is None or (own_code and not self.engine_host_code_allowed)
            return None if refused else Engine()

    members: dict[str, Any] = {
        "__version__": version,
        "ILogger": ILogger,
        "Builder": Builder,
        "NetworkDefinitionCreationFlag": Creation,
        "INetworkDefinition": Network,
        "ITensor": Tensor,
        "OnnxParser": OnnxParser,
        "ParserError": ParserError,
        "IOptimizationProfile": Optimization,
        "IBuilderConfig": Config,
        "ITimingCache": Cache,
        "BuilderFlag": BuilderFlag,
        "HardwareCompatibilityLevel": enum.Enum("HardwareCompatibilityLevel", levels),
        "PreviewFeature": Preview,
        "MemoryPoolType": enum.Enum("MemoryPoolType", ["WORKSPACE"]),
        "ProfilingVerbosity": enum.Enum("ProfilingVerbosity", ["DETAILED"]),
        "LayerInformationFormat": enum.Enum("LayerInformationFormat", ["JSON"]),
        "Runtime": Runtime,
        "ICudaEngine": Engine,
        "EngineInspector": Inspector,
    }
    if major >= 10:
        members["IProgressMonitor"] = IProgressMonitor
    for name, value in members.items():
        setattr(trt, name, value)
    return trt


def can(version: str = "11.4.0") -> capabilities.Capabilities:
    """What such a version can do, as the adapter finds out."""
    return capabilities.probe(module(version))


def install(monkeypatch: Any, trt: ModuleType, device: Gpu | None = H200) -> None:
    """Let the adapter find this module and this GPU."""
    import importlib.machinery
    import sys

    from deploy.tensorrt import gpu

    trt.__spec__ = importlib.machinery.ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setattr(gpu, "describe", lambda index=0: device if index == 0 else None)
    monkeypatch.setattr(gpu, "count", lambda: 0 if device is None else 1)


def timing_files(store: Path) -> list[Path]:
    """The timing caches in a store."""
    return sorted((store / "caches").rglob("*.timing"))
