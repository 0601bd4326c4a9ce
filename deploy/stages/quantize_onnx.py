"""INT8 of an ONNX graph: dynamic or static, for CPU or TensorRT, with the worst products left float."""

from __future__ import annotations

import platform
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import onnx
from pydantic import Field, model_validator

from compress import environment, log
from compress.errors import ParityError, UserError
from compress.stage import Context, StageConfig
from deploy import (
    dynamic,
    embeddings,
    graph,
    graph_facts,
    merge,
    observe,
    products,
    qdq,
    ranges,
    sensitivity,
    variants,
)
from deploy.encoder import Encoder, carry, real_rows
from deploy.outputs import Collected, collect
from deploy.ranges import Method
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifact import Artifact
    from compress.tasks import Batch

CONSUMES = frozenset({"onnx"})
PRODUCES = "onnx"
VERSION = 1
TOOLS = ("onnx", "onnxruntime", "numpy")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False

# FP16 scales of Q/DQ pairs exist from here on; TensorRT reads strongly typed graphs with them.
_TENSORRT_OPSET = 19


class Config(StageConfig):
    """Options of INT8 quantization.

    Attributes:
        mode: ``dynamic`` takes the ranges of activations at run time (more exact, and on CPUs as
            fast); ``static`` takes them from calibration rows.
        target: ``cpu`` (unsigned activations, as VNNI wants) or ``tensorrt`` (symmetric signed, static).
        ranges: of static activations: ``minmax``, ``percentile`` or ``entropy``.
        percentile: of the values that a ``percentile`` range holds.
        embeddings: whether embedding tables become INT8, one scale a row; the default is yes on CPU.
        head: whether the last product before an output is quantized too.
        merge: whether products of one input become one (query, key, value); the default is yes on CPU.
        keep_float: ``auto`` leaves out what costs most by measured sensitivity, ``none`` nothing, a
            list names products (or parts of their names); the default is auto for static.
        divergence: that ``auto`` goes for, in nats a row (KL from the float graph).
        most_float: products that ``auto`` may leave out at most.
        reduce_range: 7-bit weights, for CPUs without VNNI, whose 16-bit sums saturate; ``auto`` looks.
        rows: calibration rows that sensitivity is measured on, at most.
    """

    mode: Literal["dynamic", "static"] = "dynamic"
    target: Literal["cpu", "tensorrt"] = "cpu"
    ranges: Method = "minmax"
    percentile: float = Field(default=99.99, gt=90, le=100)
    embeddings: bool | None = None
    head: bool = False
    merge: bool | None = None
    keep_float: Literal["auto", "none"] | tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    divergence: float = Field(default=0.01, gt=0)
    most_float: int = Field(default=8, ge=0)
    reduce_range: bool | Literal["auto"] = "auto"
    rows: int = Field(default=128, ge=8)

    @model_validator(mode="after")
    def _goes_together(self) -> Config:
        if self.target == "tensorrt" and self.mode == "dynamic":
            raise ValueError("target tensorrt takes static ranges: write mode: static")
        return self


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
    work = _Work(source, facts, config, ctx)
    chosen = work.choose()
    quantized = work.base.whole()
    work.rewrite(quantized, graph.Index(quantized), frozenset(chosen))
    tables = embeddings.quantize(quantized) if work.embeddings else []
    path = graph.save(quantized, ctx.out)
    carry(source.path, ctx.out)
    graph_facts.write(
        ctx.out,
        facts.model_copy(
            update={"precision": "int8", "target": config.target, "opset": graph.opset(quantized)}
        ),
    )
    ctx.record("quantized", {"products": sorted(chosen), "tables": tables})
    ctx.record("weights", {"largest": work.largest, "merged": [list(group) for group in work.merged]})
    found = collect(
        infer_with(open_session(path, threads=ctx.threads)), work.batches, ctx.task, work.encoder.head
    )
    ctx.record("against_float", _compared(work.reference, found))


def _compared(reference: Collected, found: Collected) -> dict[str, Any]:
    if not found.finite():
        raise ParityError(
            "the INT8 graph gives numbers that are not finite on calibration rows: try mode: dynamic, "
            "ranges: minmax or keep_float: auto. Nothing was sealed."
        )
    divergence = found.divergence_from(reference)
    agreeing = found.agreeing(reference)
    return {
        "divergence_mean": float(divergence.mean()),
        "divergence_p99": float(np.percentile(divergence, 99)),
        "rows": int(divergence.size),
        "agreeing": agreeing[0] if agreeing else None,
    }


class _Work:
    """One quantization under way: the prepared graph, its products, ranges and reference outputs."""

    def __init__(self, source: Artifact, facts: graph_facts.GraphFacts, config: Config, ctx: Context) -> None:
        self.config, self.ctx = config, ctx
        cpu = config.target == "cpu"
        self.embeddings = cpu if config.embeddings is None else config.embeddings
        reduce = config.reduce_range
        if reduce == "auto":
            reduce = cpu and saturates(environment.cpu_flags(), platform.machine())
        self.largest = 64 if reduce else 127
        model = graph.load(source.file(graph_facts.MODEL))
        if config.target == "tensorrt":
            if facts.fused:
                raise UserError("TensorRT knows no fused ONNX Runtime operators: quantize the plain graph")
            model = graph.set_opset(model, _TENSORRT_OPSET)
        products.name_nodes(model)
        wanted = cpu if config.merge is None else config.merge
        self.merged = merge.merge(model) if wanted else []
        self.products = products.find(model)
        self.base = variants.Base(model, ctx.scratch / "variants", ctx.threads)
        del model
        self.encoder = Encoder.open(source.path, ctx.task)
        rows = real_rows(ctx, "INT8 quantization", at_least=8)
        step = max(1, len(rows) // config.rows)
        self.batches: Sequence[Batch] = self.encoder.batches(rows[::step][: config.rows])
        self.spans: dict[str, qdq.Range] = {}
        if config.mode == "static":
            self.spans = self._ranges(self.encoder.batches(rows))
        self.reference = self._outputs(None)

    def _outputs(self, names: frozenset[str] | None) -> Collected:
        rewrite = None
        if names is not None:
            chosen = names

            def rewrite(model: onnx.ModelProto, index: graph.Index) -> None:
                self.rewrite(model, index, chosen)

        return collect(self.base.open(rewrite), self.batches, self.ctx.task, self.encoder.head)

    def rewrite(self, model: onnx.ModelProto, index: graph.Index, names: frozenset[str]) -> None:
        """Quantize the named products of a copy of the graph, in place."""
        if self.config.mode == "dynamic":
            dynamic.quantize(model, names, self.largest, index)
        else:
            signed = self.config.target == "tensorrt"
            qdq.quantize(model, names, self.spans, signed=signed, largest=self.largest, index=index)

    def _ranges(self, batches: Sequence[Batch]) -> dict[str, qdq.Range]:
        """The range of each product's input over all calibration rows, pads left out."""
        config = self.config
        tensors = list(dict.fromkeys(one.input for one in self.products))
        infer = observe.open_watched(self.base.model, self.base.folder, tensors, self.ctx.threads)
        if config.ranges == "minmax":
            seen = observe.extremes(infer, batches, tensors, "ranges of activations")
            return {name: qdq.Range(one.low, one.high) for name, one in seen.items()}
        counted = observe.histograms(infer, batches, tensors, "ranges of activations")
        signed = config.target == "tensorrt"
        spans = {
            name: ranges.choose(one, config.ranges, config.percentile, signed)
            for name, one in counted.items()
        }
        return {name: qdq.Range(*span) for name, span in spans.items()}

    def choose(self) -> list[str]:
        """The products to quantize; what is left out is recorded with the reason.

        Raises:
            UserError: none is left.
        """
        config = self.config
        heads = {one.name for one in self.products if one.head} if not config.head else set()
        names = [one.name for one in self.products if one.name not in heads]
        rule = config.keep_float or ("auto" if config.mode == "static" else "none")
        kept: dict[str, str] = dict.fromkeys(sorted(heads), "the head stays float")
        if rule == "auto":
            choice = sensitivity.leave_out(
                names,
                lambda some: float(self._outputs(some).divergence_from(self.reference).mean()),
                config.divergence,
                config.most_float,
            )
            self.ctx.record(
                "sensitivity",
                {
                    "alone": choice.alone,
                    "curve": list(choice.curve),
                    "target": config.divergence,
                    "reached": choice.reached,
                },
            )
            if not choice.reached:
                log.warning(
                    "INT8 stays %.3g nats a row from the float graph with %d products left float "
                    "(goal %.3g): raise most_float, or try mode: dynamic",
                    min(choice.curve),
                    len(choice.keep_float),
                    config.divergence,
                )
            for name in choice.keep_float:
                kept[name] = f"alone it moves the outputs by {choice.alone[name]:.3g} nats a row"
        elif rule != "none":
            named = products.matching(self.products, rule)
            kept.update(dict.fromkeys(sorted(named), "named in keep_float"))
        self.ctx.record("kept_float", kept)
        chosen = [name for name in names if name not in kept]
        if not chosen:
            raise UserError(
                "nothing is left to quantize: the graph has "
                f"{len(self.products)} weight products and all of them stay float"
            )
        return chosen
