"""Fold a temperature into an ONNX classifier: the constants of its last product divided by it.

As ``calibrate`` does for PyTorch models, and best as the last step: quantization itself shifts
confidence. Answers stay what they are; the graph gets no node more.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from compress.errors import DataError
from compress.model import temperature
from compress.stage import Context, StageConfig
from deploy import rehearsal
from deploy.encoder import Encoder, carry
from deploy.graph import constants, ending
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.precision import trials
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

CONSUMES = frozenset({"onnx"})
PRODUCES = "onnx"
VERSION = 2
TOOLS = ("onnx", "onnxruntime", "numpy", "scipy")
DATA = frozenset({"selection"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_BATCH = 16


class Config(StageConfig):
    """Options.

    Attributes:
        temperature: to fold in; fitted on the selection rows when absent.
    """

    temperature: float | None = Field(default=None, ge=temperature.LOW, le=temperature.HIGH)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Fit, divide, check, write.

    Raises:
        UserError: a graph that gives numbers, or whose end is not one float product.
        DataError: no labeled selection rows, or rows that do not say which temperature fits.
    """
    if ctx.data is None:
        raise DataError("calibrate-onnx needs data with labels")
    facts = graph_facts.read(source)
    encoder = Encoder.open(source.path, ctx.task)
    rows = encoder.pieces(list(ctx.data.for_head(ctx.task, encoder.head).selection)).rows
    batches = [
        encoder.batch([rows[i] for i in picks], labelled=True) for picks in encoder.together(rows, _BATCH)
    ]
    infer = rehearsal.rehearse(source, encoder, rows, ctx.threads)
    decisions = temperature.decide(infer, batches, ctx.task, encoder.head)
    chosen, record = temperature.choose(config.temperature, decisions)
    (output,) = ctx.task.link(encoder.head)
    model = constants.load(source.file(graph_facts.MODEL))
    record["scaled"] = ending.scale(model, output, 1 / chosen)
    path = graph.save(model, ctx.out)
    candidate = infer_with(open_session(path, threads=ctx.threads))
    scaled = temperature.decide(candidate, batches[:1], ctx.task, encoder.head)
    record["largest_difference"] = temperature.check(
        decisions.outputs[: len(scaled.outputs)], scaled.outputs, chosen
    )
    ctx.record("calibration", record)
    for name, value in trials.carried(source.manifest.facts).items():
        ctx.record(name, value)
    carry(source.path, ctx.out)
    graph_facts.write(ctx.out, facts)
