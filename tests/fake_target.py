"""A stand-in for the ``tensorrt`` module: no name that the real one of that version lacks, calls noted.

What the two versions have and lack is in the table of the adapter's own contract test; here only what
the build script of a bundle uses.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

ENGINE = b"engine of the fake"


class Tensor:
    def __init__(self, name: str) -> None:
        self.name = name


class _Recorder:
    """Refuses attributes that the real class does not have."""

    def __init__(self, allowed: set[str]) -> None:
        object.__setattr__(self, "_allowed", allowed)
        object.__setattr__(self, "given", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._allowed:
            raise AttributeError(name)
        self.given[name] = value


def module(version: str, inputs: list[str], *, takes: bool = True, builds: bool = True) -> SimpleNamespace:
    """A fake of TensorRT 8.6 (weakly typed), 10 (both) or 11 (typed only).

    Args:
        version: as ``__version__`` says.
        inputs: names of the network's inputs.
        takes: whether the parser takes the graph.
        builds: whether the builder gives an engine.
    """
    major = int(version.split(".")[0])
    creation = {"EXPLICIT_BATCH": 0} if major < 11 else {}
    creation |= {"STRONGLY_TYPED": 1} if major >= 10 else {}
    flags = {"TF32": 7, "REFIT": 4} | ({"FP16": 0, "INT8": 1} if major < 11 else {})
    record: dict[str, Any] = {
        "profiles": [],
        "flags": set(),
        "cleared": set(),
        "timings": [],
        "preview": set(),
    }
    trt = SimpleNamespace(__version__=version, seen=record)
    trt.NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", creation)
    trt.BuilderFlag = enum.IntEnum("BuilderFlag", flags)
    previews = {"PROFILE_SHARING_0806": 2} if major < 11 else {"ALIASED_PLUGIN_IO_10_03": 0}
    trt.PreviewFeature = enum.IntEnum("PreviewFeature", previews)
    trt.MemoryPoolType = enum.IntEnum("MemoryPoolType", {"WORKSPACE": 0})
    trt.ProfilingVerbosity = enum.IntEnum("ProfilingVerbosity", {"DETAILED": 2})
    trt.LayerInformationFormat = enum.IntEnum("LayerInformationFormat", {"JSON": 1})

    class Logger:
        WARNING = 2

        def __init__(self, severity: int) -> None:
            record["severity"] = severity

    class Profile:
        def __init__(self) -> None:
            self.shapes: dict[str, tuple[Any, ...]] = {}

        def set_shape(self, name: str, smallest: Any, best: Any, largest: Any) -> None:
            if not all(isinstance(shape, tuple) for shape in (smallest, best, largest)):
                raise TypeError("shapes are tuples")
            self.shapes[name] = (smallest, best, largest)

    class Config(_Recorder):
        def __init__(self) -> None:
            super().__init__({"profiling_verbosity", "builder_optimization_level"})

        def set_flag(self, flag: Any) -> None:
            record["flags"].add(trt.BuilderFlag(flag).name)

        def clear_flag(self, flag: Any) -> None:
            record["cleared"].add(trt.BuilderFlag(flag).name)

        def set_preview_feature(self, feature: Any, enable: bool) -> None:
            if enable:
                record["preview"].add(trt.PreviewFeature(feature).name)

        def set_memory_pool_limit(self, pool: Any, size: int) -> None:
            record["pool"] = (pool.name, size)

        def add_optimization_profile(self, profile: Profile) -> int:
            record["profiles"].append(profile.shapes)
            return len(record["profiles"]) - 1

        def create_timing_cache(self, content: bytes) -> Any:
            return SimpleNamespace(content=content)

        def set_timing_cache(self, cache: Any, mismatch: bool) -> bool:
            record["timings"].append(cache.content)
            return cache.content != b"of another GPU" and not mismatch

        def get_timing_cache(self) -> Any:
            return SimpleNamespace(serialize=lambda: b"new timings")

    class Network:
        num_inputs = len(inputs)

        def get_input(self, index: int) -> Tensor:
            return Tensor(inputs[index])

    class Parser:
        num_errors = 1

        def __init__(self, network: Network, logger: Logger) -> None:
            record["parser"] = (type(network), type(logger))

        def parse_from_file(self, path: str) -> bool:
            record["parsed"] = path
            return takes

        def get_error(self, index: int) -> Any:
            return SimpleNamespace(desc=lambda: "no importer for node Magic")

    class Builder:
        def __init__(self, logger: Logger) -> None:
            pass

        def create_network(self, flags: int) -> Network:
            record["network"] = flags
            return Network()

        def create_builder_config(self) -> Config:
            record["config"] = Config()
            return record["config"]

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
            return ENGINE if builds else None

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            pass

        def deserialize_cuda_engine(self, engine: bytes) -> Any:
            inspector = SimpleNamespace(get_engine_information=lambda format: '{"Layers": []}')
            return SimpleNamespace(create_engine_inspector=lambda: inspector)

    trt.Logger, trt.Builder, trt.OnnxParser, trt.Runtime = Logger, Builder, Parser, Runtime
    return trt
