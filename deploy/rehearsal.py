"""One run of an artifact's graph on real rows, before a conversion builds on it.

What can be seen without running is looked at by ``content``. A graph may pass all of that and still compute
something else than the task's outputs, or fail in the middle (a table smaller than the vocabulary, shapes
that do not meet). The first run shows it, and says so of the artifact and not of the conversion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError
from deploy import content
from deploy.graph import facts as graph_facts
from deploy.session import given, infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Head
    from deploy.checking.parity import Infer
    from deploy.encoder import Encoder


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
        infer = infer_with(open_session(path, threads=threads))
    if not rows:
        return infer
    feed = encoder.feed(rows[:2])
    with given(path):
        outputs = infer(feed)
    check_outputs(outputs, encoder.spec.outputs, encoder.head, len(rows[:2]), path)
    return infer


def check_outputs(
    outputs: Mapping[str, np.ndarray], names: Iterable[str], head: Head, rows: int, where: Path
) -> None:
    """Hold the shapes of outputs against the task's: one row a row, and one number a label at the end.

    Args:
        outputs: of one batch.
        names: of those that the task reads.
        head: what they mean.
        rows: of the batch.
        where: they come from, for the message.

    Raises:
        ModelError: they are others.
    """
    width = max(1, len(head.labels))
    for name in names:
        shape = np.shape(outputs[name]) if name in outputs else ()
        if len(shape) < 2 or shape[0] != rows or shape[-1] != width:
            raise ModelError(
                f"{where}: output '{name}' is {' x '.join(map(str, shape)) or 'missing'} for {rows} rows, "
                f"and the model's head asks for {rows} with {width} numbers each: export the model again"
            )
