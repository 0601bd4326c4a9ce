"""Whether answers depend on the rows that share a batch: one graph, one row at a time and many together.

Dynamic INT8 takes one range for a whole tensor, so that a row's neighbours and its padding decide how
finely it is rounded (onnxruntime issue 10111). Nothing else that is built here should depend on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deploy.checking import divergence
from deploy.checking.outputs import Collected

BATCH = 16


@dataclass(frozen=True)
class Dependence:
    """How far the answers to the same rows are apart at two batch sizes.

    Attributes:
        batch_size: the larger one; the other is 1.
        rows: rows, or positions of rows.
        differ: how many decide something else; None where nothing is decided.
        largest: difference of one probability, or of one number where the output is one.
    """

    batch_size: int
    rows: int
    differ: int | None
    largest: float

    def __str__(self) -> str:
        """In words."""
        changed = "" if self.differ is None else f"{self.differ} of {self.rows} answers differ, "
        kind = "outputs" if self.differ is None else "probabilities"
        return f"batch 1 against {self.batch_size}: {changed}{kind} by up to {self.largest:.2g}"


def compare(alone: Collected, together: Collected, batch_size: int = BATCH) -> Dependence:
    """Outputs of the same rows, in the same order, at batch 1 and at another batch size."""
    agreeing = together.agreeing(alone)
    largest = 0.0
    for name, link in alone.links.items():
        first, second = (
            divergence.probabilities(collected.arrays[name], link) for collected in (alone, together)
        )
        largest = max(largest, float(np.abs(first - second).max(initial=0.0)))
    rows = int(next(iter(alone.arrays.values())).shape[0])
    differ = None if agreeing is None else agreeing[1] - agreeing[0]
    return Dependence(batch_size, rows, differ, largest)
