"""Export to ONNX: dynamic batch and length, checked against PyTorch on real rows and hard masks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from compress import checkpoint, log
from compress.errors import DataError
from compress.stages import Context, StageConfig
from deploy import graph, graph_facts, parity, torch_export
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifact import Artifact
    from deploy.parity import Feed

CONSUMES = frozenset({"torch"})
PRODUCES = "onnx"
VERSION = 1
TOOLS = ("torch", "transformers", "onnx", "onnxruntime")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False


class Config(StageConfig):
    """Options of the export.

    Attributes:
        opset: of the default domain; 17 keeps LayerNormalization whole and TensorRT knows it all.
        exporter: ``torchscript`` (default) or ``dynamo``.
        external_data: weights in a file of their own; when absent, only above 2 GB.
        max_batch: the most rows that a runtime may send at once; no limit when absent.
        max_length: the most tokens; the model's position table when absent.
        tolerance: largest difference to PyTorch, as a share of the largest output.
    """

    opset: int = Field(default=17, ge=17, le=20)
    exporter: Literal["torchscript", "dynamo"] = "torchscript"
    external_data: bool | None = None
    max_batch: int | None = Field(default=None, ge=1)
    max_length: int | None = Field(default=None, ge=2)
    tolerance: float = Field(default=parity.FP32.relative, gt=0, le=1e-2)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Trace the model with eager attention, write the graph, check it, seal nothing on failure.

    Raises:
        ModelError: the exporter cannot do this model.
        ParityError: the graph computes something else.
    """
    described = checkpoint.read_config(source.path)
    head = ctx.task.head_of(described)
    processor = ctx.task.load_processor(source.path)
    spec = ctx.task.export_spec(described, processor, head)
    limits = graph_facts.limits(described, spec, config.max_batch, config.max_length)
    bound = min((size for sizes in limits.values() for axis, size in sizes.items() if axis), default=None)
    agreed = checkpoint.read_max_length(source.path)
    max_length = min((size for size in (agreed, bound) if size is not None), default=None)
    rows = _rows(ctx)

    def encode(some: Sequence[Mapping[str, Any]]) -> Feed:
        batch = ctx.task.encode(some, processor, head, max_length, labelled=False)
        return {name: batch.inputs[name] for name in spec.inputs}

    lengths = ctx.task.lengths(rows, processor)
    on = parity.cases(rows, lengths, encode, ctx.seed)
    traced = encode([rows[i] for i in parity.spread(lengths, 3, len(rows))[1:]])
    model = checkpoint.load(source.path, ctx.task, attention="eager")
    wrapped = torch_export.NamedOutputs(model, tuple(spec.inputs), tuple(spec.outputs)).eval()

    scratch = ctx.scratch / "traced"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    log.info("exporting %s with %s at opset %d", source.path.name, config.exporter, config.opset)
    torch_export.export(
        wrapped,
        traced,
        spec,
        scratch / graph_facts.MODEL,
        exporter=config.exporter,
        opset=config.opset,
    )
    exported = graph.load(scratch / graph_facts.MODEL)
    graph.strip_notes(exported)
    path = graph.save(exported, ctx.out, config.external_data)
    shutil.rmtree(scratch)

    tolerance = parity.Tolerance(parity.FP32.absolute, config.tolerance)
    session = open_session(path, threads=ctx.threads)
    found = parity.check(
        torch_export.infer_with(wrapped), infer_with(session), on, tolerance, "the exported graph"
    )
    ctx.record("parity", parity.summary(found))
    ctx.record("graph", {"nodes": len(exported.graph.node), "opset": graph.opset(exported)})
    checkpoint.copy_sidecars(source.path, ctx.out)
    if config.max_length is not None:
        checkpoint.write_max_length(ctx.out, max_length)
    graph_facts.write(
        ctx.out,
        graph_facts.GraphFacts(
            precision="fp32",
            opset=graph.opset(exported),
            exporter=config.exporter,
            limits=limits,
        ),
    )


def _rows(ctx: Context) -> Sequence[Mapping[str, Any]]:
    """The rows to check parity on."""
    rows = ctx.data.calibration if ctx.data is not None else ()
    if len(rows) < 2:
        raise DataError(
            "the export is checked on real rows and found "
            f"{len(rows)}: give --data with at least 2 training rows"
        )
    return rows
