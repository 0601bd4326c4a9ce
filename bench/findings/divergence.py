"""How far the candidate's distributions are from the original's: an alarm that needs no labels.

The mean and the tail of KL(original || candidate), in nats a row. It tells that answers moved, not
whether they became worse: that is for flips and slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.answers import answers
from bench.record.finding import Finding
from bench.record.interval import Interval
from bench.statistics import stats

if TYPE_CHECKING:
    from bench.answers.answers import Pair

TITLE = "Probabilities"
RANK = 70


class Divergence(Finding):
    """How far the candidate's distributions are from the original's, in nats a row.

    Attributes:
        rows: compared.
        mean: over rows, with its bootstrap interval.
        p99: exceeded by one row in a hundred.
        largest: of any row.
    """

    kind: Literal["divergence"] = "divergence"
    rows: int
    mean: float
    mean_interval: Interval | None
    p99: float
    largest: float


MODEL = Divergence


def find(pair: Pair, generator: np.random.Generator) -> Divergence:
    """The finding.

    Raises:
        NothingToMeasure: the task's answers have no distribution.
    """
    distances = answers.divergences(pair, "the divergence")
    weights = stats.resample_weights(len(distances), generator)
    drawn = weights.astype(np.float64) @ distances / len(distances)
    return Divergence(
        rows=len(distances),
        mean=float(distances.mean()),
        mean_interval=stats.interval(drawn),
        p99=float(np.percentile(distances, 99)),
        largest=float(distances.max()),
    )


def sentences(finding: Divergence) -> list[str]:
    """How far distributions moved."""
    return [
        f"The candidate's probabilities are {finding.mean:.3g} nats a row from the original's on average, "
        f"and {finding.p99:.3g} or more on one row in a hundred (largest: {finding.largest:.3g}). This says "
        "that answers moved, not whether they became worse."
    ]
