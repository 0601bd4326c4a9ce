"""Compile an ONNX graph into a TensorRT engine, with profiles from the data's lengths and a passport."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import onnx
from pydantic import Field

from compress import log
from compress.artifacts import artifact as artifacts
from compress.errors import ModelError, RecipeError, UserError
from compress.stage import Context, StageConfig
from deploy import content
from deploy.encoder import Encoder, carry
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.graph.facts import GraphFacts
from deploy.stages import half_precision
from deploy.tensorrt import (
    asked,
    axes,
    binding,
    capabilities,
    gpu,
    layers,
    parsing,
    passport,
    precision,
    profiles,
    summary,
    timing,
)
from deploy.tensorrt.passport import BuildOptions, Compatibility, Flavor, Passport, Precision

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.tensorrt.binding import Binding
    from deploy.tensorrt.gpu import Gpu

CONSUMES = frozenset({"onnx"})
PRODUCES = "tensorrt"
VERSION = 2
TOOLS = ("onnx", "onnxruntime", "numpy")
DATA = frozenset({"calibration"})
NEEDS_DATA = False
DETERMINISTIC = False
ANCESTORS = False
MAKES_HEAD = False


class Config(StageConfig):
    """Options of the build.

    Attributes:
        precision: ``fp32``, ``tf32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``; as the graph is typed when
            absent. An FP32 graph is made FP16 or BF16 first, and so are the floating parts of an INT8
            graph; INT8 and FP8 must be in the graph already.
        profiles: each AXIS=MIN:OPT:MAX for every free axis, such as ``batch=1:8:32,length=16:64:128``;
            from the lengths of the calibration rows when absent.
        batch: sizes of the batch in profiles that are made from the data.
        buckets: of length, at most, in profiles that are made from the data; one more takes what is
            longer than the data and within the model's limit.
        flavor: ``tensorrt``, or ``tensorrt-rtx`` (ahead of time, for RTX GPUs).
        compute_capabilities: that an ahead-of-time build is for; the library's own choice when empty.
        gpu: number of the GPU to build for.
        builder_optimization_level: 0 (fast build) to 5 (fast engine).
        workspace_bytes: limit of scratch memory while building and running; the device's when absent.
        hardware_compatibility: ``none``, ``ampere_plus`` or ``same_compute_capability``.
        version_compatible: whether later versions of the same major TensorRT shall run the engine.
        refit: whether weights can be exchanged in the engine.
        weight_streaming: whether weights can stay in host memory.
        strip_plan: whether weights are left out of the engine, to be put back by refitting.
    """

    precision: Precision | None = None
    profiles: tuple[str, ...] | None = Field(default=None, min_length=1)
    batch: str = "1:8:32"
    buckets: int = Field(default=3, ge=1, le=16)
    flavor: Flavor = "tensorrt"
    compute_capabilities: tuple[str, ...] = ()
    gpu: int = Field(default=0, ge=0, le=1023)
    builder_optimization_level: int = Field(default=3, ge=0, le=5)
    workspace_bytes: int | None = Field(default=None, ge=1 << 20, le=1 << 50)
    hardware_compatibility: Compatibility = "none"
    version_compatible: bool = False
    refit: bool = False
    weight_streaming: bool = False
    strip_plan: bool = False


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def machine(config: Config) -> dict[str, str]:
    """What of this machine the engine is bound to: TensorRT and, unless compiled ahead of time, the GPU.

    Raises:
        UserError: there is no such GPU, or no such TensorRT.
    """
    device = _device(config)
    facts: dict[str, str] = {config.flavor: binding.load(config.flavor).can.version}
    if device is not None:
        facts |= {"gpu": device.name, "compute_capability": device.compute_capability}
    return facts


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Type the graph where that is asked for, compile it, look inside, write the passport.

    Raises:
        UserError: no GPU or TensorRT, an option that it lacks, a precision that the graph does not
            have, a profile that leaves rows out, or a graph that TensorRT does not take.
    """
    device = _device(config)
    library = binding.load(config.flavor)
    can = library.can
    options = BuildOptions(**{name: getattr(config, name) for name in BuildOptions.model_fields})
    capabilities.check_options(can, options)
    content.check(source)
    facts = graph_facts.read(source)
    targets = {f"compute capability {capability}": capability for capability in config.compute_capabilities}
    if device is not None:
        targets = {f"this GPU ({device.name})": device.compute_capability}
    refusal = precision.refuse(config.precision, facts.precision, facts.target, can, targets)
    if refusal is not None:
        raise UserError(f"{source.path}: {refusal}")
    encoder = Encoder.open(source.path, ctx.task)
    refuse_padding(encoder, source.path)
    model = graph.load(source.file(graph_facts.MODEL))
    chosen = _profiles(model, encoder, facts, config, ctx)
    folder = source.path
    if (
        can.strongly_typed
        and config.precision in precision.HALVES
        and asked.floats(model) != config.precision
    ):
        folder = _make_half(source, config, ctx)
        facts = graph_facts.read_file(folder / graph_facts.FILE)
        model = graph.load(folder / graph_facts.MODEL)
    parsing.refuse(parsing.problems(model, can), can.name)
    flags = precision.flags(config.precision, facts.precision, can)
    request = binding.Request(options, chosen, flags, tf32=config.precision == "tf32")
    with gpu.current(config.gpu if device is not None else 0):
        compiled, timings, seconds = _compile(
            library, folder / graph_facts.MODEL, model, request, device, ctx
        )
        inside, missing = _inside(library, compiled, options, device)

    (ctx.out / passport.ENGINE).write_bytes(compiled)
    blocks, product_precisions = asked.attention_blocks(model), _wanted(model, flags)
    record = Passport(
        flavor=config.flavor,
        tensorrt=can.version,
        gpu=device,
        precision=(config.precision or "fp32") if facts.precision == "fp32" else facts.precision,
        typing="strong" if can.strongly_typed else "flags",
        options=options,
        profiles=chosen,
        layers=inside,
        layers_missing=missing,
        products=tuple(product_precisions),
        fused_attention=None if inside is None else layers.count_fused_attention(inside),
        findings=() if inside is None else layers.findings(inside, product_precisions, blocks),
        onnx_sha256=artifacts.digest_file(folder / graph_facts.MODEL),
        source_id=source.id,
        timing_cache=timings,
        engine_sha256=artifacts.digest_file(ctx.out / passport.ENGINE),
        engine_bytes=len(compiled),
        build_seconds=round(seconds, 3),
    )
    passport.write(ctx.out, record)
    for finding in record.findings:
        log.warning("%s", finding)
    for name, value in summary.facts(record, blocks).items():
        ctx.record(name, value)
    carry(source.path, ctx.out)
    graph_facts.write(ctx.out, facts)


def refuse_padding(encoder: Encoder, place: Path) -> None:
    """Refuse a model whose rows may not be padded.

    Args:
        encoder: of the graph.
        place: what an error calls it.

    Raises:
        UserError: padding moves its answers.
    """
    if not encoder.pads:
        raise UserError(
            f"{place}: the answers of this model depend on how far a row is padded, and an engine pads rows "
            "to the shapes of its profiles: run the graph in runtime 'ort'"
        )


def _device(config: Config) -> Gpu | None:
    """The GPU to build for; None for an ahead-of-time build.

    Raises:
        UserError: there is none.
    """
    if config.flavor == "tensorrt-rtx":
        if (config.refit or config.strip_plan) and gpu.describe(config.gpu) is None:
            raise UserError(
                "TensorRT-RTX makes refittable and stripped engines only where a GPU is, and this machine "
                "shows none: leave out refit and strip_plan"
            )
        return None
    target_gpu = gpu.describe(config.gpu)
    if target_gpu is not None:
        return target_gpu
    count = gpu.count()
    if count:
        raise UserError(f"GPU {config.gpu} was asked for; this machine has {count}, numbered from 0")
    raise UserError(
        "this machine shows no NVIDIA GPU, and TensorRT compiles for the GPU at hand: build where the GPU "
        "is, hand over what builds there (paredown bundle ONNX --build-on-target), or compile ahead of time "
        "for RTX GPUs (paredown build ONNX --flavor tensorrt-rtx)"
    )


def _profiles(
    model: onnx.ModelProto, encoder: Encoder, facts: GraphFacts, config: Config, ctx: Context
) -> tuple[profiles.Profile, ...]:
    """The profiles, given or from the data, checked against the graph and the data."""
    inputs, free = axes.free(model, encoder)
    rows: Sequence[Any] = ctx.data.calibration if ctx.data is not None else ()
    lengths = axes.lengths(encoder, rows) if profiles.LENGTH in free else None
    if config.profiles is not None:
        profile_axes = [
            profiles.complete(profiles.parse(text), free, encoder.max_length) for text in config.profiles
        ]
    elif profiles.LENGTH in free and lengths is None:
        raise RecipeError(
            "profiles are made from the lengths of training rows, and there are none: give --data, or "
            "--profile such as batch=1:8:32,length=16:64:128"
        )
    else:
        batch = profiles.parse(f"{profiles.BATCH}={config.batch}")[profiles.BATCH]
        derived = profiles.derive(lengths, encoder.max_length, batch, config.buckets)
        profile_axes = [
            profiles.complete(
                {name: ranges[name] for name in free if name in ranges}, free, encoder.max_length
            )
            for ranges in derived
        ]
    profiles.check_limits(profile_axes, axes.limits(encoder, facts))
    if lengths is not None:
        profiles.check_lengths(profile_axes, lengths, encoder.task.UNIT)
    for ranges in profile_axes:
        log.info("profile %s", profiles.spell(ranges))
    return tuple(profiles.shape(ranges, inputs) for ranges in profile_axes)


def _make_half(source: Artifact, config: Config, ctx: Context) -> Path:
    """The graph typed as halves by the stage ``half-precision``, in a folder of the scratch."""
    folder = ctx.scratch / "typed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    typed = half_precision.Config.model_validate({"precision": config.precision})
    half_precision.run(source, typed, dataclasses.replace(ctx, out=folder))
    return folder


def _compile(
    library: Binding,
    onnx_file: Path,
    model: onnx.ModelProto,
    request: binding.Request,
    device: Gpu | None,
    ctx: Context,
) -> tuple[bytes, str | None, float]:
    """The serialized engine, the id of the timing cache that was kept, and the builder's seconds.

    Raises:
        ModelError: the parser does not take the graph.
    """
    cache_file = _timing_file(ctx, library, device)
    started = perf_counter()
    try:
        compiled = library.compile(onnx_file, request, timing.read(cache_file))
    except binding.ParserRefusal as cause:
        raise ModelError(parsing.explain(cause.problems, model, library.can.name)) from cause
    seconds = perf_counter() - started
    timings = timing.write(cache_file, compiled.timings) if cache_file and compiled.timings else None
    return compiled.plan, timings, seconds


def _wanted(model: onnx.ModelProto, flags: frozenset[str]) -> dict[str, str]:
    """The precision that every weight product shall have: by its types, or by the builder's flags."""
    typed = asked.of_products(model)
    half = next((name for name in precision.HALVES if name in flags), None)
    return typed if half is None else {node: half if kind == "fp32" else kind for node, kind in typed.items()}


def _timing_file(ctx: Context, library: Binding, device: Gpu | None) -> Path | None:
    """Where the store keeps timings of this TensorRT on this GPU."""
    if ctx.cache is None or device is None or not library.can.timing_cache:
        return None
    return timing.file(
        ctx.cache, library.can.flavor, library.can.version, device.name, device.compute_capability
    )


def _inside(
    library: Binding, plan: bytes, options: BuildOptions, device: Gpu | None
) -> tuple[tuple[layers.Layer, ...] | None, str | None]:
    """The engine's layers, or why they are not known."""
    if device is None:
        return None, "compiled ahead of time: layers are chosen on the GPU that runs it"
    try:
        text = library.inspect(plan, host_code=options.version_compatible)
        return (None, "TensorRT did not open the engine again") if text is None else (layers.read(text), None)
    except ValueError as cause:
        return None, f"the inspector's answer is not understood ({cause})"
