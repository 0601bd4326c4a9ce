"""INT8 or FP8 of an ONNX graph: dynamic or static, for CPU or TensorRT, the worst products left float."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import onnx
from pydantic import Field, model_validator

from compress import environment
from compress.errors import UserError
from compress.stage import Context, StageConfig
from deploy import rehearsal
from deploy.checking import batches as batch_sizes
from deploy.checking import lengths
from deploy.checking.outputs import Collected, collect
from deploy.encoder import Encoder, carry, real_rows
from deploy.graph import constants, convolutions, merge, products, variants
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.precision import coverage, embeddings, half, observe, outliers, sensitivity, trials, verdict
from deploy.precision.dynamic import Scales
from deploy.precision.eight_bits import HALF_SCALES, EightBits
from deploy.precision.int8 import Prepared, Style
from deploy.precision.ranges import Method
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Batch

CONSUMES = frozenset({"onnx"})
PRODUCES = "onnx"
VERSION = 6
TOOLS = ("onnx", "onnxruntime", "numpy", "scipy")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

# TensorRT fuses attention in INT8 up to here.
_LONGEST_INT8_ATTENTION = 512
_IMAGES = 4  # rows a batch of calibration where rows have no length


class Config(StageConfig):
    """Options of quantization to eight bits.

    Attributes:
        precision: ``int8``, or ``fp8`` (E4M3; for TensorRT on compute capability 8.9 and later).
        mode: ``dynamic`` takes the ranges of activations at run time (on CPUs as fast, and most often more
            exact, but its answers depend on the rows of a batch, and convolutions stay float); ``static``
            takes them from calibration rows. When absent, on CPU: dynamic, then static, then dynamic with
            ``keep_float: auto`` are made and measured on calibration rows, until one holds ``divergence``
            and ``agreement``; static alone where convolutions are most of the work.
        activation_scales: of dynamic: one a ``tensor``, or one a ``token``, by which no row of a batch
            reaches another (slower: no kernel fuses it).
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
        divergence: that ``auto``, and the choice of a mode, go for, in nats a row (KL from the float graph).
        agreement: share of calibration rows that must decide as the float graph does, in batches and one
            at a time; below it there is a warning.
        strict: whether that ends the run instead, and nothing is sealed.
        most_float: products that ``auto`` may leave out at most.
        reduce_range: 7-bit weights, for CPUs without VNNI, whose 16-bit sums saturate; ``auto`` looks.
        rounding: of weights: ``nearest``, or ``gptq``, by which the roundings of an output make up for each
            other on calibration rows; ``auto`` does that where the weights have 7 bits.
        rows: calibration rows that sensitivity is measured on, at most.
    """

    precision: Literal["int8", "fp8"] = "int8"
    mode: Literal["dynamic", "static"] | None = None
    target: Literal["cpu", "tensorrt"] = "cpu"
    activation_scales: Scales = "tensor"
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
    divergence: float = Field(default=0.001, gt=0, le=100)
    agreement: float = Field(default=0.98, gt=0, le=1)
    strict: bool = False
    most_float: int = Field(default=8, ge=0, le=10_000)
    reduce_range: bool | Literal["auto"] = "auto"
    rounding: Literal["auto", "nearest", "gptq"] = "auto"
    rows: int = Field(default=128, ge=8, le=10**6)

    @model_validator(mode="after")
    def _goes_together(self) -> Config:
        if self.target == "tensorrt" and self.mode == "dynamic":
            raise ValueError("target tensorrt takes static ranges: write mode: static")
        if self.activation_scales == "token" and self.static:
            raise ValueError("activation_scales: token is of dynamic ranges: write mode: dynamic")
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
        ParityError: the result gives numbers that are not finite, or is too far off and that is strict.
    """
    facts = graph_facts.read(source)
    if facts.precision != "fp32":
        raise UserError(
            f"{source.path} is {facts.precision} already: quantize the FP32 graph that export-onnx made"
        )
    opset = config.opset or (HALF_SCALES if config.target == "tensorrt" else facts.opset)
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
    rows = real_rows(ctx, encoder, f"{config.precision.upper()} quantization", at_least=8)
    reference = rehearsal.rehearse(source, encoder, rows, ctx.threads)
    quantizer = _Quantizer(source, encoder, rows, config, opset, ctx)
    completed: list[trials.Trial] = []
    for name, tried in attempts(config, coverage.convolved(quantizer.loads)).items():
        completed.append(quantizer.trial(name, tried))
        if completed[-1].holds(config.divergence, config.agreement):
            break
    chosen = trials.best(completed, config.divergence, config.agreement)
    verdict.judge(chosen, completed, config, quantizer.styles[chosen.name], len(rows))
    for file in sorted(chosen.folder.glob(f"{graph_facts.MODEL}*")):
        shutil.copyfile(file, ctx.out / file.name)
    carry(source.path, ctx.out)
    changes = {"precision": config.precision, "target": config.target, "opset": chosen.opset}
    graph_facts.write(ctx.out, facts.model_copy(update=changes))
    for name, value in chosen.facts.items():
        ctx.record(name, value)
    ctx.record("tried", [trial.figures() for trial in completed])
    ctx.record("taken", chosen.name)
    infer = infer_with(open_session(ctx.out / graph_facts.MODEL, threads=ctx.threads))
    on = lengths.all_cases(encoder, rows)
    ctx.record("lengths", lengths.moved(reference, infer, on, f"the {config.precision.upper()} graph"))


def attempts(config: Config, convolved: float = 0.0) -> dict[str, Config]:
    """The ways to quantize that are tried in turn, by name: one where the user named a mode.

    Args:
        config: as the user gave it.
        convolved: the share of all MACs that convolutions cost; dynamic ranges leave them float.
    """
    if config.mode is not None or config.target == "tensorrt":
        return {f"mode: {'static' if config.static else 'dynamic'}": config}
    if convolved > coverage.MOST and config.activation_scales == "tensor":
        return {"mode: static": config.model_copy(update={"mode": "static"})}
    dynamic = config.model_copy(update={"mode": "dynamic"})
    ways = {"mode: dynamic": dynamic}
    if config.activation_scales == "tensor":
        ways["mode: static"] = config.model_copy(update={"mode": "static"})
    if config.keep_float is None:
        ways["mode: dynamic, keep_float: auto"] = dynamic.model_copy(update={"keep_float": "auto"})
    return ways


class _Quantizer:
    """One source, quantized in one way or another; rows and their batches are encoded once.

    Attributes:
        styles: how each trial wrote its graph, by its name.
    """

    def __init__(
        self,
        source: Artifact,
        encoder: Encoder,
        rows: Sequence[Any],
        config: Config,
        opset: int,
        ctx: Context,
    ) -> None:
        self.source, self.encoder, self.opset, self.ctx = source, encoder, opset, ctx
        self.styles: dict[str, Style] = {}
        sample = rows[:: max(1, len(rows) // config.rows)][: config.rows]
        self.batches = encoder.batches(sample, batch_sizes.BATCH)
        self.singles = encoder.batches(sample, 1)
        # Inside attention no axis says which positions are padding. Every tensor of a network of
        # convolutions is watched at once, and one image has some 80 MB of them.
        images = encoder.spec.length_axis is None
        self.calibration = (
            encoder.unpadded(rows)
            if config.attention
            else encoder.batches(rows, _IMAGES)
            if images
            else encoder.batches(rows)
        )
        self.loads = self._loads()

    def _loads(self) -> list[coverage.Load]:
        """The products of the source, weighed on a row of middling length."""
        model = _open(self.source, self.opset)
        base = variants.Base(model, self.ctx.scratch / "weighed", self.ctx.threads)
        return coverage.weigh(base, self.singles[len(self.singles) // 2].inputs, self.ctx.threads)

    def trial(self, name: str, config: Config) -> trials.Trial:
        """Quantize in one way and measure it; what an earlier run finished is taken as it is."""
        style = self.styles[name] = _style(config)
        folder = self.ctx.scratch / f"trial-{len(self.styles)}"
        finished = trials.read(folder)
        if finished is not None:
            return finished
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        facts: dict[str, Any] = {}
        model, masks, merged = _load(self.source, config, self.opset)
        threads, encoder = self.ctx.threads, self.encoder
        plain = Prepared(model, style, encoder, self.calibration, folder / "plain", threads)
        del model
        reference = plain.outputs(self.batches, None)
        names = [candidate.name for candidate in plain.candidates if config.head or not candidate.head]
        prepared, tamed = plain, None
        if config.tame:
            prepared, tamed = _tame(
                plain,
                names,
                style,
                encoder,
                self.calibration,
                self.batches,
                reference,
                config,
                folder,
                threads,
            )
        chosen, float_reasons = _choose(prepared, names, self.batches, reference, config, facts.__setitem__)
        quantized = prepared.base.whole()
        prepared.quantize(quantized, frozenset(chosen))
        cpu = config.target == "cpu"
        tables = (
            embeddings.quantize(quantized)
            if (cpu if config.embeddings is None else config.embeddings)
            else []
        )
        path = graph.save(quantized, folder)
        infer = infer_with(open_session(path, threads=threads))
        together, alone = (
            collect(infer, batches, self.ctx.task, encoder.head) for batches in (self.batches, self.singles)
        )
        damage = trials.damage(reference, together, alone)
        attention_products = (
            [product.name for product in products.attention(prepared.base.model)] if config.attention else []
        )
        covered = coverage.cover(
            self.loads, chosen, float_reasons, merged, attention_products, _convolutions(config)
        )
        facts |= {
            "quantized": {"products": sorted(chosen), "tables": tables},
            "weights": {
                "largest": style.numbers.largest,
                "rounding": style.rounding,
                "merged": [list(group) for group in merged],
            },
            "masks": masks,
            "tamed": tamed,
            "coverage": covered.as_json(),
            "against_float": {
                "divergence_mean": damage.divergence_mean,
                "divergence_p99": damage.divergence_p99,
                "rows": damage.rows,
                "agreeing": damage.agreeing,
                "agreeing_alone": damage.agreeing_alone,
            },
            "batch": {
                **asdict(damage.batch),
                "ranges": "static" if config.static else config.activation_scales,
            },
        }
        if prepared.convolutions:
            shifts = prepared.filters.shifts
            facts["bias_corrections"] = {entry: shifts[entry] for entry in sorted(chosen) if entry in shifts}
        outcome = trials.Trial(name, folder, damage, covered, graph.opset(quantized), facts)
        outcome.write()
        return outcome


def _convolutions(config: Config) -> str:
    """Why a convolution with weights stayed float that was not looked at."""
    if config.precision == "fp8":
        return "no kernel multiplies convolutions in FP8"
    if config.static:
        return "its weight is no constant of the graph, or its pads are not written out"
    return "dynamic ranges are of matrix products: mode: static takes convolutions too"


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
        activation_scales=config.activation_scales,
    )


def _open(source: Artifact, opset: int) -> onnx.ModelProto:
    model = graph.set_opset(constants.load(source.file(graph_facts.MODEL)), opset)
    products.name_nodes(model)
    convolutions.fold_batch_norms(model)
    return model


def _load(
    source: Artifact, config: Config, opset: int
) -> tuple[onnx.ModelProto, list[str], list[tuple[str, ...]]]:
    """The graph with named nodes, which masks were made finite, and which products were merged."""
    cpu = config.target == "cpu"
    model = _open(source, opset)
    products.separate(model)
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
    folder: Path,
    threads: int,
) -> tuple[Prepared, dict[str, Any] | None]:
    """The graph with outlier channels scaled down, where there are any and it helps, and what to record."""
    peaks = observe.channel_peaks(
        plain.watched(plain.inputs), calibration, plain.inputs, "peaks of every channel"
    )
    model = plain.base.whole()
    gains = outliers.tame(model, peaks, names)
    if not gains:
        return plain, None
    tamed = Prepared(model, style, encoder, calibration, folder / "tamed", threads)
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
    record: Callable[[str, Any], None],
) -> tuple[list[str], dict[str, str]]:
    """The products to quantize, and those that are left out with the reason.

    Raises:
        UserError: none is left.
    """
    rule = config.keep_float or ("auto" if config.static else "none")
    heads = sorted({candidate.name for candidate in prepared.candidates} - set(names))
    float_reasons: dict[str, str] = dict.fromkeys(heads, "the head stays float")
    if rule == "auto":
        choice = sensitivity.leave_out(
            names,
            lambda subset: float(prepared.outputs(batches, subset).divergence_from(reference).mean()),
            config.divergence,
            config.most_float,
        )
        record("sensitivity", {**asdict(choice), "target": config.divergence})
        for name in choice.keep_float:
            float_reasons[name] = f"alone it moves the outputs by {choice.alone[name]:.3g} nats a row"
    elif rule != "none":
        named = products.matching(prepared.candidates, rule)
        float_reasons.update(dict.fromkeys(sorted(named), "named in keep_float"))
    record("kept_float", float_reasons)
    chosen = [name for name in names if name not in float_reasons]
    if not chosen:
        reasons = ", ".join(dict.fromkeys(reason.partition(" by ")[0] for reason in float_reasons.values()))
        raise UserError(
            f"nothing is left to quantize: of {len(prepared.candidates)} products with weights none becomes "
            f"eight bits ({reasons}). {_left(prepared.base.model, config)}"
        )
    return chosen, float_reasons


def _left(model: onnx.ModelProto, config: Config) -> str:
    """What can be done where nothing is left to quantize."""
    if not config.static and any(node.op_type == "Conv" for node in model.graph.node):
        return (
            "Convolutions stay float with dynamic ranges: mode: static quantizes them, and paredown quantize "
            "--precision fp16 makes halves of them"
        )
    return "Let keep_float name fewer of them, or take halves (paredown quantize --precision fp16)"
