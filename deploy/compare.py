"""Two artifacts on the same real rows: error of every output, agreement, divergence, first bad layer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import catalog, log
from compress.errors import UserError
from compress.label_names import LabelNames
from compress.model import checkpoint
from deploy import content, truncation
from deploy.checking.layers import LayerError, compare_layers, first_diverging
from deploy.checking.outputs import Collected, collect
from deploy.encoder import Encoder
from deploy.opening import runner
from deploy.truncation import Truncation

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Batch, Row

# A layer that is further off than this is more than rounding, in any precision.
LAYER_LIMIT = 0.05


@dataclass(frozen=True)
class OutputError:
    """How far one output is apart.

    Attributes:
        output: its name.
        largest: of the absolute differences.
        mean: of the absolute differences.
        rmse: root mean square of the differences.
    """

    output: str
    largest: float
    mean: float
    rmse: float


@dataclass(frozen=True)
class Comparison:
    """What comparing two artifacts found.

    Attributes:
        rows: that were compared.
        decisions: rows or positions that decide something; None for numbers.
        agreeing: of those, how many decide the same.
        divergence_mean: nats a row or position, from the first to the second.
        divergence_p99: the same at the 99th percentile.
        outputs: error of each output.
        truncation: what the length limit of each of the two did to the rows; None where rows have no length.
        layers: relative error of each layer, where it was asked for.
        first_diverging: the first layer above the limit, where there is one.
        provenance: what ran each of the two.
        labels: how the outputs of each of the two got their names.
        label_order: which label of the rows was taken for which of the head's, where their order alone told.
        pads: of each of the two, whether rows of several lengths share a batch.
    """

    rows: int
    decisions: int | None
    agreeing: int | None
    divergence_mean: float
    divergence_p99: float
    outputs: tuple[OutputError, ...]
    provenance: tuple[dict[str, str], dict[str, str]]
    truncation: tuple[Truncation | None, Truncation | None] = (None, None)
    layers: tuple[LayerError, ...] = ()
    first_diverging: int | None = None
    labels: tuple[LabelNames, LabelNames] = (LabelNames(), LabelNames())
    label_order: tuple[str, ...] = ()
    pads: tuple[bool, bool] = (True, True)

    @property
    def agreement(self) -> float | None:
        """The share that decides the same."""
        return None if not self.decisions or self.agreeing is None else self.agreeing / self.decisions

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        cut = [None if count is None else count.model_dump(mode="json") for count in self.truncation]
        return {
            **asdict(self),
            "truncation": cut,
            "labels": [names.model_dump(mode="json") for names in self.labels],
            "agreement": self.agreement,
        }


def output_error(name: str, reference: np.ndarray, candidate: np.ndarray) -> OutputError:
    """The three errors of one output."""
    gap = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
    return OutputError(name, float(gap.max(initial=0.0)), float(gap.mean()), float(np.sqrt((gap**2).mean())))


def compare(
    reference: Artifact,
    candidate: Artifact,
    rows: Sequence[Row],
    *,
    runtimes: tuple[str | None, str | None] = (None, None),
    device: str = "cpu",
    threads: int | None = None,
    batch_size: int = 16,
    layers: bool = False,
    layer_limit: float = LAYER_LIMIT,
    label_order: tuple[str, ...] = (),
) -> Comparison:
    """Run both on the same rows, each with its own length limit.

    Args:
        reference: the one that errors refer to.
        candidate: the other one.
        rows: real rows; labels are not looked at.
        runtimes: of the two; each kind's own when None.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; all CPUs when None.
        batch_size: rows at once.
        layers: whether hidden states are compared as well.
        layer_limit: relative error above which a layer diverges.
        label_order: of the rows, as it was decided when they were read.

    Raises:
        UserError: the two do different tasks, or their outputs do not mean the same.
    """
    if reference.task != candidate.task:
        raise UserError(
            f"{reference.path} does {reference.task} and {candidate.path} does {candidate.task}: two "
            "artifacts of one task can be compared"
        )
    for artifact in (reference, candidate):
        content.check(artifact)
    task = catalog.task(reference.task)
    encoders = [Encoder.open(artifact.path, task) for artifact in (reference, candidate)]
    first, second = encoders
    if first.head != second.head:
        raise UserError(
            f"the outputs of {reference.path} mean {', '.join(first.head.labels) or 'a number'} and those "
            f"of {candidate.path} {', '.join(second.head.labels) or 'a number'}: they cannot be compared"
        )
    strictest = first if second.pads else second
    pieces = strictest.pieces(rows).rows
    grouped = [[pieces[i] for i in picks] for picks in strictest.together(pieces, batch_size)]
    collected: list[Collected] = []
    ran: list[dict[str, str]] = []
    batches: list[list[Batch]] = []
    pairs = zip((reference, candidate), encoders, runtimes, strict=True)
    with log.progress("comparing", None):
        for artifact, encoder, name in pairs:
            encoded = [encoder.batch(group) for group in grouped]
            with runner(artifact, name, device, threads) as open_:
                collected.append(collect(open_.infer, encoded, task, encoder.head))
                ran.append(open_.provenance())
            batches.append(encoded)
        expected, actual = collected
        _check_shapes(expected, actual, reference, candidate)
        errors: tuple[LayerError, ...] = ()
        if layers:
            _check_feeds(batches)
            with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
                errors = tuple(compare_layers(reference, candidate, batches[0], Path(folder), threads))
    divergence = actual.divergence_from(expected)
    agreeing = actual.agreeing(expected)
    return Comparison(
        rows=len(rows),
        decisions=agreeing[1] if agreeing else None,
        agreeing=agreeing[0] if agreeing else None,
        divergence_mean=float(divergence.mean()),
        divergence_p99=float(np.percentile(divergence, 99)),
        outputs=tuple(
            output_error(name, expected.arrays[name], actual.arrays[name]) for name in expected.links
        ),
        provenance=(ran[0], ran[1]),
        truncation=(truncation.count(first, rows), truncation.count(second, rows)),
        layers=errors,
        first_diverging=first_diverging(errors, layer_limit),
        labels=(
            checkpoint.label_names(reference, first.head),
            checkpoint.label_names(candidate, second.head),
        ),
        label_order=label_order,
        pads=(first.pads, second.pads),
    )


def _check_shapes(expected: Collected, actual: Collected, a: Artifact, b: Artifact) -> None:
    for name in expected.links:
        left, right = expected.arrays[name].shape, actual.arrays[name].shape
        if left != right:
            raise UserError(
                f"output '{name}' of {a.path} has shape {left} over all rows and that of {b.path} {right}: "
                "the two divide texts differently, or one cuts them earlier; compare what they say with "
                "bench (agreement)"
            )


def _check_feeds(batches: list[list[Batch]]) -> None:
    for first, second in zip(*batches, strict=True):
        same = first.inputs.keys() == second.inputs.keys() and all(
            np.array_equal(first.inputs[name], second.inputs[name]) for name in first.inputs
        )
        if not same:
            raise UserError("the two encode rows differently: their layers cannot be compared")
