"""The outputs of a model over many batches, flattened to the positions that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compress.tasks import _decisions as decisions
from deploy.checking import divergence

if TYPE_CHECKING:
    from compress.tasks import Batch, Head, Link, Task
    from deploy.checking.parity import Infer


@dataclass(frozen=True)
class Collected:
    """Outputs by name, float32 [decisions, ...], and how to read them; see ``compress.tasks._decisions``."""

    arrays: dict[str, np.ndarray]
    links: Mapping[str, Link]

    def divergence_from(self, reference: Collected) -> np.ndarray:
        """Divergence of every row from a reference, summed over outputs, float64 [rows]."""
        total = np.zeros(next(iter(self.arrays.values())).shape[0])
        for name, link in self.links.items():
            expected, actual = reference.arrays[name], self.arrays[name]
            variance = float(expected.astype(np.float64).var()) if link == "identity" else None
            total += divergence.per_row(expected, actual, link, variance)
        return total

    def agreeing(self, reference: Collected) -> tuple[int, int] | None:
        """How many rows decide the same, and of how many; None where nothing is decided."""
        same: np.ndarray | None = None
        for name, link in self.links.items():
            if link == "identity":
                continue
            equal = divergence.decisions(self.arrays[name], link) == divergence.decisions(
                reference.arrays[name], link
            )
            row = equal.reshape(equal.shape[0], -1).all(axis=1)
            same = row if same is None else same & row
        return None if same is None else (int(same.sum()), int(same.size))

    def finite(self) -> bool:
        """Whether every number is one."""
        return all(bool(np.isfinite(array).all()) for array in self.arrays.values())


def collect(infer: Infer, batches: Sequence[Batch], task: Task, head: Head) -> Collected:
    """Run batches and keep what counts: rows, or the positions that the task says are real."""
    links = task.link(head)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in links}
    for batch in batches:
        outputs = infer(batch.inputs)
        real = task.positions(batch)
        for name in links:
            array = np.asarray(outputs[name], dtype=np.float32)
            parts[name].append(decisions.lines(array, links[name], real).copy())
    return Collected(
        {name: decisions.joined(chunks, links[name]) for name, chunks in parts.items()},
        {name: decisions.read_as(link) for name, link in links.items()},
    )
