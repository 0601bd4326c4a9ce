"""FP16 or BF16 of an ONNX graph; nodes that would overflow stay in FP32 and are named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from pydantic import Field

from compress import log
from compress.errors import ParityError, UserError
from compress.stage import Context, StageConfig
from deploy import rehearsal
from deploy.checking import lengths, parity
from deploy.checking.outputs import collect
from deploy.encoder import Encoder, carry, real_rows
from deploy.graph import constants, products, taps, variants
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.graph.reference import reference_infer
from deploy.precision import eight_bits, guard, half, positions, ranges, trials
from deploy.precision.eight_bits import HALF_SCALES
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.checking.parity import Case, Infer

CONSUMES = frozenset({"onnx"})
PRODUCES = "onnx"
VERSION = 4
TOOLS = ("onnx", "onnxruntime", "numpy")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_MOVED_ROWS = 64
_LONGEST_BF16 = 512
_MOVED_ALLOWED = 0.05


class Config(StageConfig):
    """Options of half precision.

    Attributes:
        precision: ``fp16`` or ``bf16``.
        keep_float: nodes (parts of their names, or operators) to keep in FP32 besides those that the
            guard finds.
        norms: ``statistics``: LayerNorm takes and gives halves and computes its mean and variance in FP32
            (``stash_type`` 1); ``whole``: all of it in FP32.
        opset: to raise the graph to; its own when absent.
        margin: a value above FP16's largest number divided by this keeps its nodes in FP32.
        rows: calibration rows that the guard watches, at most.
        tolerance: largest difference to the FP32 graph, as a share of the largest output; by
            precision when absent.
    """

    precision: Literal["fp16", "bf16"] = "fp16"
    keep_float: tuple[str, ...] = ()
    norms: Literal["statistics", "whole"] = "statistics"
    opset: int | None = Field(default=None, ge=17, le=23)
    margin: float = Field(default=guard.MARGIN, ge=1, le=1024)
    rows: int = Field(default=256, ge=8, le=10**6)
    tolerance: float | None = Field(default=None, gt=0, le=0.5)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Watch the FP32 graph, convert what is safe, check the result.

    Raises:
        UserError: the graph is not FP32 (or INT8 or FP8 with FP32 around), or ``keep_float`` names nothing.
        ParityError: the result is too far from the FP32 graph.
    """
    facts = graph_facts.read(source)
    if facts.precision in ("fp16", "bf16") or facts.rest != "fp32":
        precision = facts.rest if facts.precision in ("int8", "fp8") else facts.precision
        raise UserError(f"{source.path} is {precision} already")
    if facts.fused:
        raise UserError(
            f"{source.path} holds operators of ONNX Runtime's own (fused ones, or lookups of packed rows): "
            "make the plain graph half, and fuse or pack nothing"
        )
    eight = facts.precision in ("int8", "fp8")
    if facts.target == "tensorrt" and max(facts.opset, config.opset or 0) < HALF_SCALES:
        raise UserError(
            f"{source.path} has the FP32 scales of opset {facts.opset}, for TensorRT 8.6, which makes halves "
            f"itself: for a typed graph quantize with opset: {HALF_SCALES}"
        )
    encoder = Encoder.open(source.path, ctx.task)
    rows = real_rows(ctx, encoder, "the overflow guard of half precision", at_least=8)
    reference = rehearsal.rehearse(source, encoder, rows, ctx.threads)
    step = max(1, len(rows) // config.rows)
    model = constants.load(source.file(graph_facts.MODEL))
    if config.opset is not None:
        model = graph.set_opset(model, config.opset)
    products.name_nodes(model)
    masks = half.bound_masks(model)
    float_nodes = _named(model, config.keep_float)
    if config.norms == "whole":
        float_nodes |= dict.fromkeys(half.norms(model), "norms: whole")
    if config.precision == "fp16":
        float_nodes |= guard.lost_scales(model)
        float_nodes |= _guarded(model, encoder, rows[::step][: config.rows], config, ctx)
    for name, reason in float_nodes.items():
        log.info("kept in FP32: %s (%s)", name, reason)
    stayed = half.convert(model, config.precision, frozenset(float_nodes))
    path = graph.save(model, ctx.out)
    candidate = reference_infer(path)
    quick = candidate
    if config.precision == "fp16":
        quick = infer_with(open_session(path, threads=ctx.threads))  # it must load where people try it first
    if eight:
        figures = _moved(reference, candidate, encoder, rows[::step][:_MOVED_ROWS], config)
    else:
        tolerance = parity.FP16 if config.precision == "fp16" else parity.BF16
        if config.tolerance is not None:
            tolerance = parity.Tolerance(tolerance.absolute, config.tolerance, tolerance.most)
        on = short(encoder.cases(rows, ctx.seed))
        label = f"the {config.precision} graph"
        differences = parity.check(reference, candidate, on, tolerance, label)
        # ONNX Runtime has no BF16 on CPUs, and the reference evaluator takes its time for each token.
        most = lengths.LONGEST if config.precision == "fp16" else _LONGEST_BF16
        long = lengths.all_cases(encoder, rows, most)
        differences += parity.check(reference, quick, long, tolerance, label) if long else []
        figures = parity.summary(differences)
    ctx.record("parity", {**figures, "by": "onnx.reference"})
    ctx.record("kept_float", float_nodes)
    ctx.record("float_by_operator", sorted(set(stayed) - float_nodes.keys()))
    ctx.record("masks", masks)
    for name, value in trials.carried(source.manifest.facts).items():
        ctx.record(name, value)
    carry(source.path, ctx.out)
    graph_facts.write(
        ctx.out,
        facts.model_copy(
            update={
                "precision": facts.precision if eight else config.precision,
                "rest": config.precision,
                "opset": graph.opset(model),
            }
        ),
    )


def _named(model: onnx.ModelProto, patterns: tuple[str, ...]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for pattern in patterns:
        hits = [n.name for n in model.graph.node if pattern in n.name or pattern == n.op_type]
        if not hits:
            raise UserError(f"keep_float: no node or operator of the graph is named '{pattern}'")
        reasons |= dict.fromkeys(hits, "named in keep_float")
    return reasons


def _guarded(
    model: onnx.ModelProto, encoder: Encoder, rows: Any, config: Config, ctx: Context
) -> dict[str, str]:
    """Nodes whose values come near FP16's end on real rows."""
    types = half.element_types(model)
    tensors = half.float_tensors(model, types)
    base = variants.Base(model, ctx.scratch / "watched", ctx.threads)
    infer = taps.open_watched(base.model, base.folder, tensors, ctx.threads)
    extremes = {name: ranges.Extremes() for name in tensors}
    batches = encoder.unpadded(rows)
    with log.progress("values of every tensor", len(batches)) as bar:
        for batch in batches:
            for name, array in infer(batch.inputs).items():
                if name in extremes:
                    extremes[name].add(np.asarray(array))
            bar.advance()
    reasons = guard.overflowing(model, extremes, eight_bits.FP16_LARGEST / config.margin)
    exact = positions.from_integers(model, types)  # in FP32 already, whatever they reach
    return {name: reason for name, reason in reasons.items() if name not in exact}


def _moved(reference: Infer, candidate: Infer, encoder: Encoder, rows: Any, config: Config) -> dict[str, Any]:
    """Divergence of an INT8 or FP8 graph with halves around its products from the same with FP32.

    A half rounds a value across the border of two integers now and then, and the step to the next
    integer is as large as INT8's own error: single outputs differ by more than FP16 would explain,
    the distribution must not.

    Raises:
        ParityError: the mean divergence is above what eight bits themselves are allowed.
    """
    batches = encoder.batches(rows, size=2)
    expected = collect(reference, batches, encoder.task, encoder.head)
    actual = collect(candidate, batches, encoder.task, encoder.head)
    mean = float(actual.divergence_from(expected).mean()) if actual.finite() else float("inf")
    if not mean <= _MOVED_ALLOWED:
        raise ParityError(
            f"the {config.precision} graph moves the outputs of its source by {mean:.3g} nats a row "
            f"(allowed: {_MOVED_ALLOWED:g}): keep more in FP32 with keep_float. Nothing was sealed."
        )
    return {"divergence_mean": mean, "rows": len(rows), "allowed": _MOVED_ALLOWED}


def short(cases: list[Case]) -> list[Case]:
    """The cases with two rows at most: the reference evaluator multiplies slowly."""
    return [
        parity.Case(f"{case.name}, 2 rows at most", {n: a[:2] for n, a in case.feed.items()})
        for case in cases
    ]
