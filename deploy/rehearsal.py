"""One run of an artifact's graph on real rows, before a conversion builds on it.

What can be seen without running is looked at by ``content``. A graph may pass all of that and still compute
something else than the task's outputs, or fail in the middle (a table smaller than the vocabulary, shapes
that do not meet). The first run shows it, and says so of the artifact and not of the conversion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import catalog
from compress.errors import ModelError
from compress.model import checkpoint, sample
from deploy import content
from deploy.encoder import Encoder
from deploy.graph import facts as graph_facts
from deploy.runtimes.ort import Runner, refusal
from deploy.session import given, infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Head, Link
    from deploy.checking.parity import Infer

# Two short rows take a fraction of a second; a graph that takes so long has a loop without an end.
_SECONDS = 60.0


def rehearse(
    artifact: Artifact, encoder: Encoder, rows: Sequence[Mapping[str, Any]], threads: int | None
) -> Infer:
    """Open an artifact's graph on the CPU and run it on two rows; gives the function that runs it.

    Args:
        artifact: ONNX, in a precision that ONNX Runtime has on a CPU.
        encoder: of the artifact.
        rows: real rows; the first two are run, where there are any.
        threads: of the session.

    Raises:
        ArtifactError: the artifact's content is not what its kind says.
        ModelError: ONNX Runtime cannot open or run it, or its outputs are not the task's.
    """
    content.check(artifact)
    path = artifact.file(graph_facts.MODEL)
    with given(path):
        session = open_session(path, threads=threads)
    infer = infer_with(session)
    if not rows:
        return infer
    seen = encoder.pieces(rows[:2]).rows
    feed = encoder.feed(seen)
    with given(path):
        outputs = infer_with(session, _SECONDS)(feed)
    check_outputs(outputs, encoder.links, encoder.head, len(seen), path)
    return infer


def before_handover(artifact: Artifact) -> None:
    """Look at an artifact's content, and run it once on rows of our own where this machine can.

    Weights are loaded into their class. A graph is run where ONNX Runtime is installed and has its precision
    on a CPU; an engine runs on the GPU that it was built for, and not here.

    Args:
        artifact: sealed.

    Raises:
        ArtifactError: its content is not what its kind says.
        ModelError: it does not load or run, or its outputs are no numbers or not the task's.
    """
    content.check(artifact)
    task = catalog.task(artifact.task)
    if artifact.kind == "torch":
        checkpoint.load(artifact.path, task)
    if artifact.kind != "onnx" or Runner.unavailable() or refusal(graph_facts.read(artifact), "cpu"):
        return
    encoder = Encoder.open(artifact.path, task)
    path = artifact.file(graph_facts.MODEL)
    most = min((sizes[0] for sizes in graph_facts.read(artifact).limits.values() if 0 in sizes), default=2)
    rows = encoder.pieces(sample.rows(task)).rows[:most]
    with given(path):
        infer = infer_with(open_session(path), _SECONDS)
        if not rows:
            return
        outputs = infer(encoder.feed(rows))
    check_outputs(outputs, encoder.links, encoder.head, len(rows), path)
    for name in encoder.spec.outputs:
        if not np.isfinite(outputs[name]).all():
            raise ModelError(
                f"{path}: output '{name}' has numbers that are none (NaN or infinite) for a plain row: "
                "export the model again"
            )


def check_outputs(
    outputs: Mapping[str, np.ndarray], links: Mapping[str, Link], head: Head, rows: int, place: Path
) -> None:
    """Hold the shapes of outputs against the task's: one row a row, and one number a label at the end.

    Args:
        outputs: of one batch.
        links: name -> how it is read, of the outputs that the task reads.
        head: what they mean.
        rows: of the batch.
        place: they come from, for the message.

    Raises:
        ModelError: they are others.
    """
    for name, link in links.items():
        shape = np.shape(outputs[name]) if name in outputs else ()
        width = shape[-1] if link == "positions" and shape else head.width
        if len(shape) < 2 or shape[0] != rows or shape[-1] != width:
            raise ModelError(
                f"{place}: output '{name}' is {' x '.join(map(str, shape)) or 'missing'} for {rows} rows, "
                f"and the model's head asks for {rows} with {width} numbers each: export the model again"
            )
