"""The one door to TensorRT: imports it, hides what differs between its versions, builds engines.

What is done through ``trt`` and the objects that it gives is declared in ``deploy.tensorrt.names``.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress import log
from compress.errors import MissingPiece, UserError
from deploy.tensorrt import capabilities, gpu, layer_times, monitor, names
from deploy.tensorrt.passport import BuildOptions, Flavor, Here
from deploy.tensorrt.profiles import Profile

_MODULES: dict[Flavor, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_INSTALL: dict[Flavor, str] = {
    "tensorrt": "pip install 'paredown[tensorrt]'",
    # The package of that name alone is a stub that fetches from elsewhere; these two are the whole of it.
    "tensorrt-rtx": "pip install --no-deps tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings",
}


@dataclass(frozen=True)
class ParserProblem:
    """One error of TensorRT's ONNX parser.

    Attributes:
        node: index of the node in the graph; negative where it is not known.
        name: of the node, where the version says it.
        operator: of the node, where the version says it.
        text: what the parser says.
    """

    node: int
    name: str
    operator: str
    text: str


class ParserRefusal(Exception):  # noqa: N818 - deploy.tensorrt.parsing makes the user's sentence of it
    """TensorRT's parser does not take a graph."""

    def __init__(self, problems: Sequence[ParserProblem]) -> None:
        super().__init__("; ".join(problem.text for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Request:
    """What to compile, beside the graph.

    Attributes:
        options: of the build.
        profiles: in order.
        flags: precisions that the builder may choose, for a TensorRT without typed networks.
        tf32: whether FP32 products may round their inputs to TF32.
    """

    options: BuildOptions
    profiles: tuple[Profile, ...]
    flags: frozenset[str] = frozenset()
    tf32: bool = False


@dataclass(frozen=True)
class Compiled:
    """What the builder gave.

    Attributes:
        plan: the serialized engine.
        timings: the timing cache after the build; None where tactics are not timed.
    """

    plan: bytes
    timings: bytes | None


class Binding:
    """One TensorRT module.

    Attributes:
        can: what it can do.
        said: errors that it logged, the latest last.
    """

    def __init__(self, module: Any) -> None:
        """Look at a module that is imported already."""
        self.trt = module
        self.can = capabilities.probe(module)
        self.said: list[str] = []
        self._logger = _logger(module, self.said)

    def compile(self, onnx: Path, request: Request, timings: bytes = b"") -> Compiled:
        """Parse a graph and build its engine.

        Args:
            onnx: file of the graph; external weights lie beside it.
            request: options and profiles.
            timings: a timing cache to start from, or nothing.

        Raises:
            ParserRefusal: the parser does not take the graph.
            UserError: an option that this TensorRT lacks, or the builder gave no engine.
        """
        trt = self.trt
        capabilities.check_options(self.can, request.options)
        builder = self._builder()
        network = builder.create_network(self._network_flags())
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(onnx)):
            raise ParserRefusal([_problem(parser.get_error(i), self.can) for i in range(parser.num_errors)])
        settings = builder.create_builder_config()
        self._configure(settings, request)
        for profile in request.profiles:
            self._add_profile(builder, network, settings, profile)
        if self.can.timing_cache:
            self._set_timings(settings, timings)
        plan = self._build(builder, network, settings)
        cache = settings.get_timing_cache() if self.can.timing_cache else None
        return Compiled(plan, None if cache is None else bytes(cache.serialize()))

    def deserialize(self, plan: bytes, *, host_code: bool = False) -> tuple[Any, Any]:
        """A runtime and the engine that it opened, on the current device; the engine is None where it cannot.

        The runtime must live as long as its engine. ``said`` has the reason of a refusal.

        Args:
            plan: whose checksum was compared.
            host_code: whether it may bring the small runtime along that version-compatible engines need.
        """
        trt = self.trt
        runtime = trt.Runtime(self._logger)
        if host_code:
            runtime.engine_host_code_allowed = True
        return runtime, runtime.deserialize_cuda_engine(plan)

    def inspect(self, plan: bytes, *, host_code: bool = False) -> str | None:
        """The inspector's JSON of an engine; None where TensorRT cannot open it here.

        Needs the GPU that the engine is for.
        """
        trt = self.trt
        _, engine = self.deserialize(plan, host_code=host_code)
        if engine is None:
            return None
        inspector = engine.create_engine_inspector()
        text: str = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        return text

    def layer_times(self) -> Any:
        """A profiler for execution contexts; see ``deploy.tensorrt.layer_times``."""
        return layer_times.create(self.trt)

    def _builder(self) -> Any:
        trt = self.trt
        try:
            return trt.Builder(self._logger)
        except TypeError as cause:  # what the bindings make of a builder that is NULL
            message = f" ({self.said[-1]})" if self.said else ""
            raise UserError(
                f"{self.can.name} gives no builder on this machine{message}: 'paredown doctor' says what its "
                "libraries and the driver want"
            ) from cause

    def _network_flags(self) -> int:
        trt = self.trt
        if self.can.strongly_typed:
            return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        if self.can.explicit_batch_flag:
            return 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
        return 0

    def _configure(self, settings: Any, request: Request) -> None:
        trt, options = self.trt, request.options
        if capabilities.has(trt, "PreviewFeature.PROFILE_SHARING_0806"):
            # A context for every shape and stream: TensorRT 8.6 lets contexts share a profile only if asked.
            settings.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
        settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # the inspector's layer types
        settings.builder_optimization_level = options.builder_optimization_level
        if options.workspace_bytes is not None:
            settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
        if request.tf32:
            settings.set_flag(trt.BuilderFlag.TF32)
        else:
            settings.clear_flag(trt.BuilderFlag.TF32)  # TensorRT sets it unasked
        switches = {
            "REFIT": options.refit,
            "STRIP_PLAN": options.strip_plan,
            "WEIGHT_STREAMING": options.weight_streaming,
            "VERSION_COMPATIBLE": options.version_compatible,
            **{flag.upper(): True for flag in sorted(request.flags)},
        }
        for name, on in switches.items():
            if on:
                settings.set_flag(_member(trt, "BuilderFlag", name))
        if options.hardware_compatibility != "none":
            level = capabilities.level_name(options.hardware_compatibility)
            settings.hardware_compatibility_level = _member(trt, "HardwareCompatibilityLevel", level)
        if options.compute_capabilities:
            settings.num_compute_capabilities = len(options.compute_capabilities)
            for index, capability in enumerate(options.compute_capabilities):
                name = capabilities.capability_name(capability)
                settings.set_compute_capability(_member(trt, "ComputeCapability", name), index)

    def _add_profile(self, builder: Any, network: Any, settings: Any, profile: Profile) -> None:
        optimization = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            shapes = profile.inputs[tensor.name]
            optimization.set_shape(tensor.name, shapes.min, shapes.opt, shapes.max)
        if settings.add_optimization_profile(optimization) < 0:
            message = f": {self.said[-1]}" if self.said else ""
            raise UserError(f"{self.can.name} does not take the profile '{profile}'{message}")

    def _set_timings(self, settings: Any, timings: bytes) -> None:
        """Attach a timing cache; one that does not fit is replaced by an empty one."""
        for content in (timings, b"") if timings else (b"",):
            cache = settings.create_timing_cache(content)
            if cache is not None and settings.set_timing_cache(cache, False):
                return
            log.info("the timing cache does not fit this TensorRT or GPU: tactics are timed again")

    def _build(self, builder: Any, network: Any, settings: Any) -> bytes:
        with log.progress(f"building with {self.can.name}", 100) as bar:
            watch = None
            if self.can.progress_monitor:
                watch = monitor.create(self.trt, bar)
                settings.progress_monitor = watch
            plan = builder.build_serialized_network(network, settings)
        if watch is not None and watch.interrupted:
            raise KeyboardInterrupt
        if plan is None:
            raise UserError(failure(self.can.name, self.said))
        return bytes(plan)


def failure(name: str, messages: Sequence[str]) -> str:
    """The sentence for a build that gave no engine, from what TensorRT logged."""
    reason = messages[-1] if messages else "it gave no reason"
    low = any("outofmemory" in text.lower().replace(" ", "") for text in messages)
    remedy = (
        "the GPU has too little free memory: lower the largest sizes of --profile, give --workspace, or end "
        "what else runs on it"
        if low
        else "try another --optimization-level, or fewer options; --verbose shows all that it says"
    )
    return f"{name} built no engine ({reason}): {remedy}"


def _member(trt: Any, owner: str, name: str) -> Any:
    """A member of one of TensorRT's enumerations, by a name of the table."""
    if name not in names.USED[owner]:
        raise RuntimeError(f"{owner}.{name} is not declared in deploy.tensorrt.names")
    return getattr(getattr(trt, owner), name)


def _problem(error: Any, can: capabilities.Capabilities) -> ParserProblem:
    return ParserProblem(
        node=int(error.node()),
        name=str(error.node_name()) if can.named_parser_errors else "",
        operator=str(error.node_operator()) if can.named_parser_errors else "",
        text=str(error.desc()),
    )


def _logger(trt: Any, errors: list[str]) -> Any:
    """A logger for TensorRT: errors are kept for the sentence, the rest is for ``--verbose``."""
    levels = trt.ILogger.Severity

    class Logger(trt.ILogger):
        """Called by TensorRT, from its own threads."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (levels.ERROR, levels.INTERNAL_ERROR):
                errors.append(msg)
            if severity != levels.VERBOSE:
                log.detail("%s", msg)

    return Logger()


def load(flavor: Flavor) -> Binding:
    """The installed TensorRT of a flavor.

    Raises:
        MissingPiece: it is not installed, or its libraries do not load.
    """
    for name in _MODULES[flavor]:
        if importlib.util.find_spec(name) is None:
            continue
        try:
            return Binding(importlib.import_module(name))
        except (ImportError, OSError) as cause:
            raise MissingPiece(
                f"'{name}' is installed and does not load ({cause}): 'paredown doctor' says which library is "
                f"missing; or install it anew: {_INSTALL[flavor]}"
            ) from cause
    raise MissingPiece(f"{flavor} is needed here and is not installed: run {_INSTALL[flavor]}")


def here(flavor: Flavor, device: str = "cuda") -> Here:
    """This machine as an engine of a flavor sees it; nothing is raised for what is missing."""
    try:
        version = load(flavor).can.version
    except MissingPiece:
        version = None
    return Here(flavor=flavor, tensorrt=version, gpu=gpu.describe(gpu.index_of(device)))
