"""Export to ONNX: dynamic batch and length, checked against PyTorch on real rows and hard masks."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from compress import log
from compress.errors import ModelError, first_line
from compress.model import checkpoint, sample
from compress.model import limit as limits
from compress.model.limit import Limit
from compress.stage import Context, StageConfig
from deploy import content
from deploy.checking import lengths, parity, structure
from deploy.encoder import Encoder, carry, real_rows
from deploy.graph import constant_shapes, constants, products, torch_export
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.session import infer_with, open_session, refusals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import onnx

    from compress.artifacts.artifact import Artifact
    from compress.tasks import ExportSpec
    from deploy.checking.parity import Infer

CONSUMES = frozenset({"torch"})
PRODUCES = "onnx"
VERSION = 3
TOOLS = ("torch", "transformers", "onnx", "onnxruntime")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False


class Config(StageConfig):
    """Options of the export.

    Attributes:
        opset: of the default domain; 17 keeps LayerNormalization whole and TensorRT knows it all.
        exporter: ``torchscript`` (default) or ``dynamo``.
        external_data: weights in a file of their own; when absent, only above 2 GB.
        max_batch: the most rows that a runtime may send at once; no limit when absent.
        max_length: the most tokens; the model's own limit when absent, as far as the graph is checked to
            hold (4,096 tokens at most, 491,520 samples of sounds).
        fold_shapes: whether shape arithmetic that only copies axes is taken out (exact, and faster).
        tolerance: largest difference to PyTorch, as a share of the largest output.
    """

    opset: int = Field(default=17, ge=17, le=20)
    exporter: Literal["torchscript", "dynamo"] = "torchscript"
    external_data: bool | None = None
    max_batch: int | None = Field(default=None, ge=1, le=65_536)
    max_length: int | None = Field(default=None, ge=2, le=10**6)
    fold_shapes: bool = True
    tolerance: float = Field(default=parity.FP32.relative, gt=0, le=1e-2)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Trace the model with eager attention, write the graph, check it, seal nothing on failure.

    Raises:
        ArtifactError: the source is not what it says.
        ModelError: the exporter cannot do this model.
        ParityError: the graph computes something else.
    """
    content.check(source)
    encoder = Encoder.open(source.path, ctx.task, config.max_length, derived=True)
    spec = encoder.spec
    rows = real_rows(ctx, encoder, "the parity check of an export")
    on = encoder.cases(rows, ctx.seed)
    picks = parity.spread(encoder.lengths(rows), 3, len(rows))
    traced = encoder.feed([rows[i] for i in (picks * 2)[1:3]])
    model = checkpoint.load(source.path, ctx.task, attention="eager")
    wrapped = torch_export.NamedOutputs(model, tuple(spec.inputs), tuple(spec.outputs)).eval()

    scratch = ctx.scratch / "traced"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    log.detail("tracing with the %s exporter at opset %d", config.exporter, config.opset)
    torch_export.export(
        wrapped,
        traced,
        spec,
        scratch / graph_facts.MODEL,
        exporter=config.exporter,
        opset=config.opset,
    )
    exported = graph.load(scratch / graph_facts.MODEL)
    kind = type(model).__name__
    remedy = f"try exporter: {'dynamo' if config.exporter == 'torchscript' else 'torchscript'}"
    _check_inputs(
        exported, spec, f"the graph that the {config.exporter} exporter made of this {kind}", remedy
    )
    if loops := structure.loops(exported):
        raise ModelError(
            f"the graph that the {config.exporter} exporter made of this {kind} has a loop (node "
            f"'{loops[0].name[:80]}'), and no verb runs a graph whose end cannot be seen: {remedy}. Nothing "
            "was sealed."
        )
    graph.strip_notes(exported)
    constants.fold(exported)
    products.name_nodes(exported)
    folded = 0
    if config.fold_shapes:
        sizes = constant_shapes.sizes(encoder.max_length, _extent(traced, encoder))
        probes = [constant_shapes.resized(traced, spec, *size) for size in sizes]
        try:
            folded = constant_shapes.fold(exported, probes, ctx.scratch / "watched", ctx.threads)
        except refusals() as cause:
            # Cut rows are no rows to some models (T5 looks for the end of each); real ones decide below.
            log.detail("shapes are left as they are: %s", first_line(cause))
    path = graph.save(exported, ctx.out, config.external_data)
    opset, nodes = graph.opset(exported), len(exported.graph.node)
    del exported  # it may be as large as the model, and two sessions are still to come
    shutil.rmtree(scratch)

    tolerance = parity.Tolerance(parity.FP32.absolute, config.tolerance)
    reference = torch_export.infer_with(wrapped)
    failure = (
        f"the graph that the {config.exporter} exporter made of this {kind} does not run in ONNX Runtime"
    )
    with _running(failure, remedy):
        candidate = infer_with(open_session(path, threads=ctx.threads))
    differences = parity.check(
        reference,
        _told(candidate, failure, remedy),
        on,
        tolerance,
        "the exported graph",
    )
    limit = _limit(reference, candidate, encoder, rows, tolerance, differences, config, ctx)
    ctx.record("parity", parity.summary(differences))
    ctx.record("graph", {"nodes": nodes, "opset": opset, "shapes_folded": folded})
    carry(source.path, ctx.out)
    if encoder.spec.length_axis is not None:
        limits.write(ctx.out, limit)
    chosen = limit.tokens if limit.whose in ("export", "check") else None
    graph_facts.write(
        ctx.out,
        graph_facts.GraphFacts(
            precision="fp32",
            opset=opset,
            exporter=config.exporter,
            limits=graph_facts.limits(encoder.config, spec, config.max_batch, chosen),
        ),
    )


def _check_inputs(exported: onnx.ModelProto, spec: ExportSpec, title: str, remedy: str) -> None:
    """Refuse a graph that takes less than the model does.

    Raises:
        ModelError: an input is not among the graph's.
    """
    names = {port.name for port in exported.graph.input}
    lost = [name for name in spec.inputs if name not in names]
    if lost:
        raise ModelError(
            f"{title} does not take {', '.join(lost)}: nothing that the model computed here came of it (some "
            f"leave out what only a kernel for GPUs computes). What next: {remedy}. Nothing was sealed."
        )


@contextmanager
def _running(failure: str, remedy: str) -> Iterator[None]:
    """One sentence of what ONNX Runtime raises while it opens or runs the graph."""
    try:
        yield
    except refusals() as cause:
        log.detail("%s: %s", failure, cause)
        raise ModelError(f"{failure} ({first_line(cause)}): {remedy}. Nothing was sealed.") from cause


def _told(infer: Infer, failure: str, remedy: str) -> Infer:
    """A function from feed to outputs that says in one sentence where the graph does not run."""

    def told(feed: parity.Feed) -> Mapping[str, np.ndarray]:
        with _running(failure, remedy):
            return infer(feed)

    return told


def _extent(feed: parity.Feed, encoder: Encoder) -> int | None:
    """The length of encoded rows that are no texts, along their free axis; None where there is none."""
    if sample.has_texts(encoder.task):
        return None
    spec = encoder.spec
    free = ((n, axis) for n, axes in spec.inputs.items() for axis, s in axes.items() if s == spec.length_axis)
    return next((int(feed[name].shape[axis]) for name, axis in free), None)


def _limit(
    reference: Infer,
    candidate: Infer,
    encoder: Encoder,
    rows: Sequence[Mapping[str, Any]],
    tolerance: parity.Tolerance,
    differences: list[parity.Difference],
    config: Config,
    ctx: Context,
) -> Limit:
    """The token limit of the graph: the source's, lowered to the length up to which the graph holds.

    The differences at the lengths that are tried are added to ``differences``.
    """
    source_limit = Limit(encoder.max_length, encoder.whose)
    unit = encoder.task.UNIT
    longest = lengths.longest(encoder)
    top = source_limit.tokens or longest
    if config.max_length is None:
        top = min(top, longest)
    tried = lengths.tried(encoder, rows, top)
    counted = encoder.lengths(rows)
    if not tried or counted is None:
        return source_limit
    raises: tuple[type[Exception], ...] = (ModelError, *refusals())
    check = lengths.checker(reference, candidate, encoder, rows, tolerance, raises, differences)
    base = int(min(counted.max(), top))
    reach = lengths.reach(check, tried, base)
    ctx.record(
        "lengths",
        {
            "checked": list(reach.checked),
            "limit": reach.tokens,
            "of": source_limit.tokens,
            "failure": reach.failure.words if reach.failure else None,
        },
    )
    if reach.failure is not None:
        log.warning(
            "The exported graph holds up to %d %s, and %s are cut there. At %d %s %s.",
            reach.tokens,
            unit,
            "texts" if sample.has_texts(encoder.task) else "rows",
            reach.failure.tokens,
            unit,
            reach.failure.words,
        )
    elif reach.tokens != source_limit.tokens:
        log.warning(
            "The exported graph was checked up to %d %s and takes no more (its model takes %s): "
            "export-onnx with max_length: NUMBER checks and takes more.",
            reach.tokens,
            unit,
            source_limit.tokens or "any number",
        )
    else:
        return source_limit
    return Limit(reach.tokens, "check")
