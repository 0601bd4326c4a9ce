"""Whether training rows fit a head's labels in another order far better than in the one that is given.

Where labels are matched by their order alone, a swapped pair cannot be seen in any later figure: baseline and
candidate share the mistake. The order that fits best is the assignment of data ids to outputs with the most
right rows (Kuhn 1955); it is held to be the true one where it is right on at least a fifth of the rows more,
and where chance is excluded by the exact sign test on the rows that only one of the two orders gets right,
corrected for how many orders there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_GAIN = 0.2
_LEVEL = 1e-3
_MOST_CLASSES = 170  # the largest number of orders that a float holds


@dataclass(frozen=True)
class Fit:
    """How well two orders of the labels fit some rows.

    Attributes:
        given: share of right rows in the given order.
        best: share of right rows in the order that fits best.
        order: output -> id of the data that it fits best.
        p_value: of the sign test between both, times the number of orders; at most 1.
    """

    given: float
    best: float
    order: tuple[int, ...]
    p_value: float

    @property
    def wrong(self) -> bool:
        """Whether the given order is surely not the data's."""
        return self.best - self.given >= _GAIN and self.p_value < _LEVEL


def fit(predicted: Sequence[int], labels: Sequence[int], classes: int) -> Fit:
    """How the given order fits, and the one that fits best.

    Args:
        predicted: outputs that the model chose.
        labels: of the same rows, as ids in the given order.
        classes: how many there are.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import binomtest

    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (np.asarray(predicted), np.asarray(labels)), 1)
    _, order = linear_sum_assignment(counts, maximize=True)
    rows = int(counts.sum())
    by_given, by_best = int(np.trace(counts)), int(counts[np.arange(classes), order].sum())
    moved = order != np.arange(classes)
    # A row lies in one cell of the table: it is right by one of the orders, or by both where they agree.
    only_best = int(counts[np.arange(classes), order][moved].sum())
    only_given = int(np.diag(counts)[moved].sum())
    tested = only_best + only_given
    p_value = binomtest(only_best, tested, 0.5, alternative="greater").pvalue if tested else 1.0
    orders = float(math.factorial(classes)) if classes <= _MOST_CLASSES else math.inf
    return Fit(
        given=by_given / rows,
        best=by_best / rows,
        order=tuple(int(i) for i in order),
        p_value=min(1.0, float(p_value) * orders) if p_value > 0 else 0.0,
    )
