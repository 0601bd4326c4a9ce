"""Fit where decisions turn on the selection rows, as a last step: compression moves what decided best before.

For labels that hold each by itself, a threshold for each label, which together have the highest micro F1; for
questions that may have no answer, the margin above which the model answers nothing, with the highest F1. The
task says what is fitted (``fitted`` of its contract). Weights and graph stay as they are to the byte: the
thresholds stand in ``config.json``, which every later stage carries and every runtime decides by.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import DataError, ModelError
from compress.model import checkpoint
from compress.stage import Context, Role, StageConfig
from compress.tasks import _thresholds as thresholds
from deploy import rehearsal
from deploy.encoder import Encoder
from deploy.opening import runner
from deploy.precision import trials

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Head, Prediction, Row

CONSUMES = frozenset({"torch", "onnx"})
PRODUCES = None
VERSION = 1
TOOLS = ("onnxruntime", "torch", "transformers", "numpy")
DATA: frozenset[Role] = frozenset({"selection"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_BATCH = 16


class Config(StageConfig):
    """There is nothing to choose: the rows decide."""


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def undecided(source: Artifact, encoder: Encoder, rows: Sequence[Row], threads: int) -> list[Prediction]:
    """An artifact's predictions of rows, made without thresholds."""
    task, head = encoder.task, replace(encoder.head, thresholds=None)
    pieces = encoder.pieces(rows)
    by_piece: dict[int, Prediction] = {}
    with runner(source, threads=threads) as running:
        for picks in encoder.together(pieces.rows, _BATCH):
            batch = encoder.batch([pieces.rows[i] for i in picks])
            outputs = running.infer({name: batch.inputs[name] for name in encoder.spec.inputs})
            rehearsal.check_outputs(outputs, encoder.links, head, len(picks), source.path)
            by_piece.update(zip(picks, task.decode(outputs, batch, head), strict=True))
    return task.joined([by_piece[i] for i in range(len(pieces.rows))], pieces, head)


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Answer the selection rows, fit, write.

    Raises:
        DataError: there are no labeled selection rows, or they do not say which thresholds fit.
        ModelError: the task's decisions turn at no threshold.
    """
    if ctx.data is None:
        raise DataError("fit-threshold needs data with labels")
    encoder = Encoder.open(source.path, ctx.task)
    task, head = ctx.task, encoder.head
    aligning = head if head.thresholds else replace(head, thresholds=())
    rows = list(ctx.data.for_head(task, aligning).selection)
    references = [task.reference(row, head) for row in rows]
    predictions = undecided(source, encoder, rows, ctx.threads)
    values = task.fitted(predictions, references, head)
    if not values:
        raise ModelError(
            f"the decisions of {task.NAME} turn at no threshold, so that none can be fitted: leave the "
            "stage out"
        )

    def figures(under: Head) -> dict[str, float]:
        decided = task.decided(predictions, under)
        return task.metrics(task.statistics(decided, references, under).sum(axis=0), under)

    fitted = replace(head, thresholds=values)
    ctx.record(
        "thresholds",
        {
            "rows": len(rows),
            "values": dict(zip(head.labels, values, strict=True)) if head.labels else list(values),
            "before": figures(head),
            "fitted": figures(fitted),
        },
    )
    for name, fact in trials.carried(source.manifest.facts).items():
        ctx.record(name, fact)
    for name in source.manifest.files:
        (ctx.out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.file(name), ctx.out / name)
    _write(ctx.out / checkpoint.CONFIG, {**encoder.config, thresholds.FIELD: list(values)})


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
