"""INT8 or FP8 of an ONNX graph: dynamic or static, for CPU or TensorRT, the worst products left float."""

from __future__ import annotations

import platform
from collections.abc import Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import onnx
from pydantic import Field, model_validator

from compress import environment, log
from compress.errors import ParityError, UserError
from compress.stage import Context, StageConfig
from deploy.checking.outputs import Collected, collect
from deploy.encoder import Encoder, carry, real_rows
from deploy.graph import facts as graph_facts
from deploy.graph import merge, products
from deploy.graph import nodes as graph
from deploy.precision import embeddings, half, observe, outliers, sensitivity
from deploy.precision.eight_bits import HALF_SCALES, EightBits
from deploy.precision.int8 import Prepared, Style
from deploy.precision.ranges import Method
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifact import Artifact
    from compress.tasks import Batch

CONSUMES = frozenset({"onnx"})
PRODUCES = "onnx"
VERSION = 3
TOOLS = ("onnx", "onnxruntime", "numpy", "scipy")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

# TensorRT fuses attention in INT8 up to here.
_LONGEST_INT8_ATTENTION = 512


class Config(StageConfig):
    """Options of quantization to eight bits.

    Attributes:
        precision: ``int8``, or ``fp8`` (E4M3; for TensorRT on compute capability 8.9 and later).
        mode: ``dynamic`` takes the ranges of activations at run time (more exact, and on CPUs as
            fast); ``static`` takes them from calibration rows. The default is dynamic on CPU.
        target: ``cpu`` (unsigned activations, as VNNI wants) or ``tensorrt`` (symmetric signed, static).
        ranges: of static activations: ``minmax``, ``percentile`` or ``entropy``.
        percentile: of the values that a ``percentile`` range holds.
        embeddings: whether embedding tables become INT8, one scale a row; the default is yes on CPU.
        head: whether the last product before an output is quantized too.
        attention: whether the products of attention are (TensorRT; texts of at most 512 tokens).
        residual: whether residual sums take quantized inputs (TensorRT).
        opset: of the result. TensorRT's typed graphs need 19 (the default for it); 17 gives the FP32
            scales that TensorRT 8.6 reads.
        merge: whether products of one input become one (query, key, value); the default is yes on CPU.
        tame: whether outlier channels of activations are scaled down first (exact before INT8);
            ``auto`` does it where it brings the outputs nearer on calibration rows.
        keep_float: ``auto`` leaves out what costs most by measured sensitivity, ``none`` nothing, a
            list names products (or parts of their names); the default is auto for static.
        divergence: that ``auto`` goes for, in nats a row (KL from the float graph).
        most_float: products that ``auto`` may leave out at most.
        reduce_range: 7-bit weights, for CPUs without VNNI, whose 16-bit sums saturate; ``auto`` looks.
        rounding: of weights: ``nearest``, or ``gptq``, by which the roundings of an output make up for each
            other on calibration rows; ``auto`` does that where the weights have 7 bits.
        rows: calibration rows that sensitivity is measured on, at most.
    """

    precision: Literal["int8", "fp8"] = "int8"
    mode: Literal["dynamic", "static"] | None = None
    target: Literal["cpu", "tensorrt"] = "cpu"
    ranges: Method = "percentile"
    percentile: float = Field(default=99.99, gt=90, le=100)
    embeddings: bool | None = None
    head: bool = False
    attention: bool = False
    residual: bool = False
    opset: int | None = Field(default=None, ge=17, le=23)
    merge: bool | None = None
    tame: bool | Literal["auto"] = "auto"
    keep_float: Literal["auto", "none"] | tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    divergence: float = Field(default=0.001, gt=0)
    most_float: int = Field(default=8, ge=0)
    reduce_range: bool | Literal["auto"] = "auto"
    rounding: Literal["auto", "nearest", "gptq"] = "auto"
    rows: int = Field(default=128, ge=8)

    @model_validator(mode="after")
    def _goes_together(self) -> Config:
        if self.target == "tensorrt" and self.mode == "dynamic":
            raise ValueError("target tensorrt takes static ranges: write mode: static")
        if self.target != "tensorrt":
            for name in ("attention", "residual"):
                if getattr(self, name):
                    raise ValueError(f"{name} puts pairs where TensorRT wants them: write target: tensorrt")
            if self.precision == "fp8":
                raise ValueError("only TensorRT multiplies FP8: write target: tensorrt")
        if self.precision == "fp8" and self.opset is not None and self.opset < HALF_SCALES:
            raise ValueError(f"FP8 exists from opset {HALF_SCALES} on; leave opset out")
        return self

    @property
    def static(self) -> bool:
        """Whether ranges come from calibration rows."""
        return self.mode == "static" or (self.mode is None and self.target == "tensorrt")


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def saturates(flags: Set[str], machine: str) -> bool:
    """Whether the CPU adds pairs of U8*S8 products in 16 bits: x86 without VNNI."""
    x86 = machine.lower() in {"x86_64", "amd64", "i686", "i386"}
    return x86 and not flags & {"avx512_vnni", "avx_vnni", "avx_vnni_int8"}


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Quantize, record what was done and how far the outputs moved.

    Raises:
        UserError: the graph is not FP32, or nothing of it can be quantized.
        ParityError: the result gives numbers that are not finite.
    """
    facts = graph_facts.read(source)
    if facts.precision != "fp32":
        raise UserError(
            f"{source.path} is {facts.precision} already: quantize the FP32 graph that export-onnx made"
        )
    wanted = config.opset or (HALF_SCALES if config.target == "tensorrt" else facts.opset)
    if config.opset is not None and facts.opset > config.opset:
        raise UserError(
            f"{source.path} has opset {facts.opset} and opset {config.opset} was asked for: export it with "
            f"opset: {config.opset}"
        )
    if facts.fused and config.target == "tensorrt":
        raise UserError("TensorRT knows no fused ONNX Runtime operators: quantize the plain graph")
    encoder = Encoder.open(source.path, ctx.task)
    if (
        config.attention
        and config.precision == "int8"
        and (encoder.max_length or 0) > _LONGEST_INT8_ATTENTION
    ):
        raise UserError(
            f"{source.path} takes {encoder.max_length} tokens, and TensorRT fuses attention in INT8 up to "
            f"{_LONGEST_INT8_ATTENTION}: export with max_length: {_LONGEST_INT8_ATTENTION}, or leave out "
            "attention: true"
        )
    rows = real_rows(ctx, f"{config.precision.upper()} quantization", at_least=8)
    step = max(1, len(rows) // config.rows)
    batches = encoder.batches(rows[::step][: config.rows])
    style = _style(config)
    model, masks, merged = _load(source, config, wanted)
    # Inside attention no axis says which positions are padding.
    calibration = encoder.unpadded(rows) if config.attention else encoder.batches(rows)
    plain = Prepared(model, style, encoder, calibration, ctx.scratch / "plain", ctx.threads)
    del model
    reference = plain.outputs(batches, None)
    names = [one.name for one in plain.products if config.head or not one.head]
    prepared, tamed = plain, None
    if config.tame:
        prepared, tamed = _tame(plain, names, style, encoder, calibration, batches, reference, config, ctx)
    chosen = _choose(prepared, names, batches, reference, config, ctx)
    quantized = prepared.base.whole()
    prepared.quantize(quantized, frozenset(chosen))
    cpu = config.target == "cpu"
    tables = (
        embeddings.quantize(quantized) if (cpu if config.embeddings is None else config.embeddings) else []
    )
    path = graph.save(quantized, ctx.out)
    carry(source.path, ctx.out)
    changes = {"precision": config.precision, "target": config.target, "opset": graph.opset(quantized)}
    graph_facts.write(ctx.out, facts.model_copy(update=changes))
    ctx.record("quantized", {"products": sorted(chosen), "tables": tables})
    ctx.record(
        "weights",
        {
            "largest": style.numbers.largest,
            "rounding": style.rounding,
            "merged": [list(group) for group in merged],
        },
    )
    ctx.record("masks", masks)
    ctx.record("tamed", tamed)
    found = collect(infer_with(open_session(path, threads=ctx.threads)), batches, ctx.task, encoder.head)
    ctx.record("against_float", _compared(reference, found))


def _style(config: Config) -> Style:
    cpu = config.target == "cpu"
    reduce = config.reduce_range
    if reduce == "auto":
        reduce = cpu and saturates(environment.cpu_flags(), platform.machine())
    rounding = config.rounding
    if rounding == "auto":
        rounding = "gptq" if reduce else "nearest"
    kind: Literal["u8", "s8", "e4m3"] = "u8" if cpu else "s8" if config.precision == "int8" else "e4m3"
    return Style(
        mode="static" if config.static else "dynamic",
        numbers=EightBits(kind, 64 if reduce else 127, half_scales=not cpu),
        method=config.ranges,
        percent=config.percentile,
        rounding=rounding,
        attention=config.attention,
        residual=config.residual,
    )


def _load(
    source: Artifact, config: Config, opset: int
) -> tuple[onnx.ModelProto, list[str], list[tuple[str, ...]]]:
    """The graph with named nodes, which masks were made finite, and which products were merged."""
    cpu = config.target == "cpu"
    model = graph.set_opset(graph.load(source.file(graph_facts.MODEL)), opset)
    products.name_nodes(model)
    # What is not quantized becomes halves, in a typed graph or by a flag of TensorRT 8.6.
    masks = [] if cpu else half.bound_masks(model)
    return model, masks, merge.merge(model) if (cpu if config.merge is None else config.merge) else []


def _tame(
    plain: Prepared,
    names: list[str],
    style: Style,
    encoder: Encoder,
    calibration: Sequence[Batch],
    batches: Sequence[Batch],
    reference: Collected,
    config: Config,
    ctx: Context,
) -> tuple[Prepared, dict[str, Any] | None]:
    """The graph with outlier channels scaled down, where there are any and it helps, and what to record."""
    peaks = observe.channel_peaks(
        plain.watched(plain.inputs), calibration, plain.inputs, "peaks of every channel"
    )
    model = plain.base.whole()
    gains = outliers.tame(model, peaks, names)
    if not gains:
        return plain, None
    tamed = Prepared(model, style, encoder, calibration, ctx.scratch / "tamed", ctx.threads)
    record: dict[str, Any] = {"gains": gains}
    if config.tame == "auto":
        every = frozenset(names)
        without, with_ = (
            float(form.outputs(batches, every).divergence_from(reference).mean()) for form in (plain, tamed)
        )
        record |= {"divergence_without": without, "divergence_with": with_}
        if not with_ < without:
            return plain, {**record, "used": False}
    return tamed, {**record, "used": True}


def _choose(
    prepared: Prepared,
    names: list[str],
    batches: Sequence[Batch],
    reference: Collected,
    config: Config,
    ctx: Context,
) -> list[str]:
    """The products to quantize; what is left out is recorded with the reason.

    Raises:
        UserError: none is left.
    """
    rule = config.keep_float or ("auto" if config.static else "none")
    heads = sorted({one.name for one in prepared.products} - set(names))
    kept: dict[str, str] = dict.fromkeys(heads, "the head stays float")
    if rule == "auto":
        choice = sensitivity.leave_out(
            names,
            lambda some: float(prepared.outputs(batches, some).divergence_from(reference).mean()),
            config.divergence,
            config.most_float,
        )
        ctx.record("sensitivity", {**asdict(choice), "target": config.divergence})
        if not choice.reached:
            log.warning(
                "%s stays %.3g nats a row from the float graph with %d products left float (goal %.3g): "
                "raise most_float%s",
                config.precision.upper(),
                min(choice.curve),
                len(choice.keep_float),
                config.divergence,
                ", or try mode: dynamic" if config.target == "cpu" else "",
            )
        for name in choice.keep_float:
            kept[name] = f"alone it moves the outputs by {choice.alone[name]:.3g} nats a row"
    elif rule != "none":
        named = products.matching(prepared.products, rule)
        kept.update(dict.fromkeys(sorted(named), "named in keep_float"))
    ctx.record("kept_float", kept)
    chosen = [name for name in names if name not in kept]
    if not chosen:
        raise UserError(
            f"nothing is left to quantize: the graph has {len(prepared.products)} weight products and all "
            "of them stay float"
        )
    return chosen


def _compared(reference: Collected, found: Collected) -> dict[str, Any]:
    if not found.finite():
        raise ParityError(
            "the quantized graph gives numbers that are not finite on calibration rows: try ranges: minmax "
            "or keep_float: auto. Nothing was sealed."
        )
    divergence = found.divergence_from(reference)
    agreeing = found.agreeing(reference)
    return {
        "divergence_mean": float(divergence.mean()),
        "divergence_p99": float(np.percentile(divergence, 99)),
        "rows": int(divergence.size),
        "agreeing": agreeing[0] if agreeing else None,
    }
