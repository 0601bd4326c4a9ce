"""An engine's passport, ``engine.json``: what it was built from and with, and where it may run.

Everything here is read and checked before a byte of the engine is deserialized: an engine is compiled
code for one GPU and one TensorRT, and TensorRT's own answer to another one is an error code.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from compress.errors import ArtifactError
from deploy.tensorrt.gpu import Gpu, at_least
from deploy.tensorrt.layers import Layer
from deploy.tensorrt.profiles import Profile

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

ENGINE = "model.engine"
FILE = "engine.json"

Flavor = Literal["tensorrt", "tensorrt-rtx"]
Precision = Literal["fp32", "tf32", "fp16", "bf16", "int8", "fp8"]
Compatibility = Literal["none", "ampere_plus", "same_compute_capability"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BuildOptions(_Frozen):
    """What the builder was told, beside profiles.

    Attributes:
        precision: that was asked for; None: as the graph is typed.
        builder_optimization_level: 0 to 5.
        workspace_bytes: limit of scratch memory; None: what the device has.
        hardware_compatibility: which other GPUs shall run it.
        version_compatible: whether later TensorRT versions of the same major one shall run it.
        refit: whether its weights can be exchanged.
        weight_streaming: whether weights can stay in host memory.
        strip_plan: whether the weights were left out, to be put back by refitting.
        compute_capabilities: that an ahead-of-time build is for; empty: the GPU at hand.
    """

    precision: Precision | None = None
    builder_optimization_level: int = 3
    workspace_bytes: int | None = None
    hardware_compatibility: Compatibility = "none"
    version_compatible: bool = False
    refit: bool = False
    weight_streaming: bool = False
    strip_plan: bool = False
    compute_capabilities: tuple[str, ...] = ()


class Passport(_Frozen):
    """What ``engine.json`` says.

    Attributes:
        flavor: ``tensorrt`` or ``tensorrt-rtx``.
        tensorrt: its version.
        gpu: that it was built on; None for an ahead-of-time build without one.
        precision: of the weight products, as the graph's types or, in an FP32 graph, the builder's flags say.
        typing: ``strong``: the graph's own types; ``flags``: chosen by the builder (TensorRT 8).
        options: of the build.
        profiles: in the engine's order.
        layers: what the engine runs, where the inspector could look; else None.
        layers_missing: why there are none.
        products: names of the graph's weight products; a layer that holds one multiplies matrices.
        fused_attention: how many fused attention kernels there are; None without ``layers``.
        findings: what differs from what was asked for, a sentence each.
        onnx_sha256: of the graph that was compiled.
        source_id: content id of the ONNX artifact.
        timing_cache: SHA-256 of the timing cache after the build; None where there is none.
        engine_sha256: of ``model.engine``.
        engine_bytes: its size.
        build_seconds: how long the builder took.
    """

    schema_version: Literal[1] = 1
    flavor: Flavor
    tensorrt: str
    gpu: Gpu | None
    precision: str
    typing: Literal["strong", "flags"]
    options: BuildOptions
    profiles: tuple[Profile, ...] = Field(min_length=1)
    layers: tuple[Layer, ...] | None = None
    layers_missing: str | None = None
    products: tuple[str, ...] = ()
    fused_attention: int | None = None
    findings: tuple[str, ...] = ()
    onnx_sha256: str
    source_id: str
    timing_cache: str | None = None
    engine_sha256: str
    engine_bytes: int
    build_seconds: float

    def command(self, onnx: str = "ONNX", out: str = "ENGINE", *, weights: bool = False) -> str:
        """The command that builds the engine again from its ONNX artifact; ``weights``: with its weights."""
        options = self.options.model_copy(update={"strip_plan": False}) if weights else self.options
        words = ["paredown", "build", onnx]
        if options.precision is not None:
            words += ["--precision", options.precision]
        for profile in self.profiles:
            words += ["--profile", str(profile)]
        if self.flavor != "tensorrt":
            words += ["--flavor", self.flavor]
        for capability in options.compute_capabilities:
            words += ["--compute-capability", capability]
        standard = BuildOptions()
        for name in BuildOptions.model_fields:
            value = getattr(options, name)
            if name not in ("precision", "compute_capabilities") and value != getattr(standard, name):
                words += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
        return shlex.join([*words, "--out", out])


@dataclass(frozen=True)
class Here:
    """This machine and installation, as far as an engine cares.

    Attributes:
        flavor: of the TensorRT that would run it.
        tensorrt: its version; None where it is not installed.
        gpu: the device; None where there is none.
    """

    flavor: Flavor
    tensorrt: str | None
    gpu: Gpu | None


def write(folder: Path, passport: Passport) -> None:
    """Write ``engine.json``."""
    (folder / FILE).write_text(passport.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read(artifact: Artifact) -> Passport:
    """The passport of a TensorRT artifact.

    Raises:
        ArtifactError: there is none, or it is damaged or of another version of paredown.
    """
    try:
        return Passport.model_validate_json(artifact.file(FILE).read_bytes())
    except ValidationError as cause:
        raise ArtifactError(
            f"{artifact.path / FILE} is damaged or of another version of paredown "
            f"({cause.error_count()} errors, first: {cause.errors()[0]['msg']}): build the engine again"
        ) from cause


def check(passport: Passport, here: Here, onnx: str = "ONNX") -> str | None:
    """Why an engine cannot run here, with the command that rebuilds it; None if it can.

    Args:
        passport: of the engine.
        here: this machine.
        onnx: what the command calls the ONNX artifact.
    """
    if passport.options.strip_plan:
        return (
            "the engine was built without its weights (strip_plan) and computes nothing before TensorRT's "
            f"refitter put them back; to run it here, build it whole: {passport.command(onnx, weights=True)}"
        )
    reason = _differs(passport, here)
    if reason is None:
        return None
    return f"{reason}; build it again on this machine: {passport.command(onnx)}"


def _differs(passport: Passport, machine: Here) -> str | None:
    options = passport.options
    if machine.tensorrt is None or machine.flavor != passport.flavor:
        return f"the engine needs {passport.flavor} {passport.tensorrt}, which is not installed here"
    if machine.gpu is None:
        return f"the engine was built for {_built_for(passport)}, and this machine shows no GPU"
    same_major = machine.tensorrt.split(".")[0] == passport.tensorrt.split(".")[0]
    later = _numbers(machine.tensorrt) >= _numbers(passport.tensorrt)
    if machine.tensorrt != passport.tensorrt and not (options.version_compatible and same_major and later):
        built = f"{passport.flavor} {passport.tensorrt}"
        return f"the engine was built with {built} and {machine.tensorrt} is installed here"
    capability = machine.gpu.compute_capability
    this_gpu = f"this is {machine.gpu.name} (compute capability {capability})"
    if passport.gpu is None or passport.flavor == "tensorrt-rtx":
        # RTX engines are compiled for listed capabilities, or for what its default covers.
        listed = options.compute_capabilities
        if listed and not any(capability == entry for entry in listed):
            return f"the engine was built for compute capability {', '.join(listed)} and {this_gpu}"
        return None
    if options.hardware_compatibility == "ampere_plus":
        fits = at_least(capability, "8.0")
    elif options.hardware_compatibility == "same_compute_capability":
        fits = capability == passport.gpu.compute_capability
    else:
        fits = (machine.gpu.name, capability) == (passport.gpu.name, passport.gpu.compute_capability)
    return None if fits else f"the engine was built for {_built_for(passport)} and {this_gpu}"


def _built_for(passport: Passport) -> str:
    if passport.gpu is not None:
        return f"{passport.gpu.name} (compute capability {passport.gpu.compute_capability})"
    listed = passport.options.compute_capabilities
    return f"compute capability {', '.join(listed)}" if listed else "every GPU that TensorRT-RTX supports"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def engine(artifact: Artifact, passport: Passport) -> bytes:
    """The serialized engine, with size and checksum compared to the passport first.

    Raises:
        ArtifactError: it is truncated or was changed; nothing was deserialized.
    """
    path = artifact.file(ENGINE)
    content = path.read_bytes()
    if len(content) != passport.engine_bytes:
        raise ArtifactError(
            f"{path} has {len(content)} bytes and was sealed with {passport.engine_bytes}: it is "
            f"{'truncated' if len(content) < passport.engine_bytes else 'not the same file'}. "
            f"Nothing of it was loaded; copy it again or build it again: {passport.command()}"
        )
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != passport.engine_sha256:
        raise ArtifactError(
            f"{path} was changed since it was built (sha256 {checksum[:12]}..., sealed "
            f"{passport.engine_sha256[:12]}...). Nothing of it was loaded; copy it again or build it again: "
            f"{passport.command()}"
        )
    return content
