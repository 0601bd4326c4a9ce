"""How far the candidate's distributions are from the original's: an alarm that needs no labels.

The mean and the tail of KL(original || candidate), in nats a row. It tells that answers moved, not
whether they became worse: that is for flips and slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.findings import answers
from bench.record.findings import Divergence
from bench.statistics import stats
from compress.errors import NothingToMeasure

if TYPE_CHECKING:
    from bench.findings.answers import Pair


def find(pair: Pair, generator: np.random.Generator) -> Divergence:
    """The finding.

    Raises:
        NothingToMeasure: the task's answers have no distribution.
    """
    answers.decided(pair, "the divergence")
    each = answers.divergences(pair)
    if each is None:
        raise NothingToMeasure("the divergence needs one distribution a row, and this task has none")
    weights = stats.resample_weights(len(each), generator)
    drawn = weights.astype(np.float64) @ each / len(each)
    return Divergence(
        rows=len(each),
        mean=float(each.mean()),
        mean_interval=stats.interval(drawn),
        p99=float(np.percentile(each, 99)),
        largest=float(each.max()),
    )
