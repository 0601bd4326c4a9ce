"""What an installed TensorRT can do, found by looking for names; versions are never compared.

TensorRT 8 has precision flags and no typed networks, 10 has both, 11 and TensorRT-RTX have typed
networks alone. A record of what is there decides everything that follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compress.errors import UserError
from deploy.tensorrt.passport import BuildOptions, Compatibility, Flavor

_PRECISION_FLAGS = ("FP16", "BF16", "INT8", "FP8")
_LEVELS: dict[Compatibility, str] = {
    "none": "NONE",
    "ampere_plus": "AMPERE_PLUS",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",
}


@dataclass(frozen=True)
class Capabilities:
    """What one TensorRT module can do.

    Attributes:
        flavor: ``tensorrt``, or ``tensorrt-rtx``.
        version: as the module says.
        strongly_typed: whether precision lives in the graph's types.
        explicit_batch_flag: whether a network must be told that the batch is an axis (TensorRT 8).
        precision_flags: precisions that a builder flag allows (weak typing).
        progress_monitor: whether the builder reports its progress.
        named_parser_errors: whether the parser's errors name node and operator.
        version_compatible: whether engines for later versions can be asked for.
        refit: whether weights can be made exchangeable.
        strip_plan: whether weights can be left out.
        weight_streaming: whether weights can stay in host memory.
        hardware_levels: hardware compatibility that can be asked for.
        ahead_of_time: whether engines are compiled for listed GPUs, with none at hand.
        compute_capabilities: that it compiles for ahead of time.
        timing_cache: whether tactics are timed, so that timings can be kept. An ahead-of-time compiler
            times nothing.
    """

    flavor: Flavor
    version: str
    strongly_typed: bool
    explicit_batch_flag: bool
    precision_flags: frozenset[str]
    progress_monitor: bool
    named_parser_errors: bool
    version_compatible: bool
    refit: bool
    strip_plan: bool
    weight_streaming: bool
    hardware_levels: frozenset[str]
    ahead_of_time: bool
    compute_capabilities: tuple[str, ...]
    timing_cache: bool

    @property
    def typing(self) -> str:
        """How precision is chosen: ``strong`` or ``flags``."""
        return "strong" if self.strongly_typed else "flags"

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{'TensorRT-RTX' if self.flavor == 'tensorrt-rtx' else 'TensorRT'} {self.version}"


def has(module: Any, path: str) -> bool:
    """Whether a module has a name such as ``BuilderFlag.FP16``."""
    member = module
    for part in path.split("."):
        if not hasattr(member, part):
            return False
        member = getattr(member, part)
    return True


def probe(module: Any) -> Capabilities:
    """What a TensorRT module can do."""
    ahead = has(module, "IBuilderConfig.set_compute_capability")
    names = [name for name in dir(module.ComputeCapability) if name.startswith("SM")] if ahead else []
    return Capabilities(
        flavor="tensorrt-rtx" if ahead else "tensorrt",
        version=str(module.__version__),
        strongly_typed=has(module, "NetworkDefinitionCreationFlag.STRONGLY_TYPED"),
        explicit_batch_flag=has(module, "NetworkDefinitionCreationFlag.EXPLICIT_BATCH"),
        precision_flags=frozenset(
            name.lower() for name in _PRECISION_FLAGS if has(module, f"BuilderFlag.{name}")
        ),
        progress_monitor=has(module, "IProgressMonitor") and has(module, "IBuilderConfig.progress_monitor"),
        named_parser_errors=has(module, "ParserError.node_name"),
        version_compatible=has(module, "BuilderFlag.VERSION_COMPATIBLE"),
        refit=has(module, "BuilderFlag.REFIT"),
        strip_plan=has(module, "BuilderFlag.STRIP_PLAN"),
        weight_streaming=has(module, "BuilderFlag.WEIGHT_STREAMING"),
        hardware_levels=frozenset(
            level for level, name in _LEVELS.items() if has(module, f"HardwareCompatibilityLevel.{name}")
        ),
        ahead_of_time=ahead,
        compute_capabilities=tuple(sorted((_spelled(name) for name in names), key=_order)),
        timing_cache=has(module, "IBuilderConfig.create_timing_cache") and not ahead,
    )


def level_name(level: Compatibility) -> str:
    """TensorRT's name of a hardware compatibility."""
    return _LEVELS[level]


def capability_name(compute_capability: str) -> str:
    """TensorRT-RTX's name of a compute capability: ``8.9`` is ``SM89``."""
    return f"SM{compute_capability.replace('.', '')}"


def _spelled(name: str) -> str:
    digits = name.removeprefix("SM")
    return f"{digits[:-1]}.{digits[-1]}"


def _order(compute_capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in compute_capability.split("."))


def check_options(can: Capabilities, options: BuildOptions) -> None:
    """Refuse build options that this TensorRT does not have.

    Raises:
        UserError: names the option, what lacks it and what to do.
    """
    lacking = [
        ("version_compatible", can.version_compatible),
        ("refit", can.refit),
        ("strip_plan", can.strip_plan),
        ("weight_streaming", can.weight_streaming),
    ]
    for name, available in lacking:
        if getattr(options, name) and not available:
            raise UserError(f"{name} was asked for and {can.name} does not have it: leave it out")
    if options.hardware_compatibility not in can.hardware_levels:
        raise UserError(
            f"hardware_compatibility: {options.hardware_compatibility} was asked for and {can.name} has "
            f"{', '.join(sorted(can.hardware_levels))}"
        )
    if options.weight_streaming and not can.strongly_typed:
        raise UserError(f"weight_streaming needs a strongly typed network, which {can.name} does not have")
    if options.compute_capabilities and not can.ahead_of_time:
        raise UserError(
            f"compute_capabilities are for ahead-of-time builds (--flavor tensorrt-rtx); {can.name} builds "
            "for the GPU at hand"
        )
    unknown = [
        capability
        for capability in options.compute_capabilities
        if capability not in can.compute_capabilities
    ]
    if unknown:
        raise UserError(
            f"{can.name} does not compile for compute capability {', '.join(unknown)}; it knows "
            f"{', '.join(can.compute_capabilities)}"
        )
