"""What a training run has done so far, and what it did in the end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Evaluation:
    """The selection rows' figures at a step; the first is the task's main metric."""

    step: int
    epoch: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class History:
    """What happened in a training run.

    Attributes:
        steps: optimizer steps.
        epochs: passes over the rows.
        losses: (step, mean loss since the point before), at most some 200 points.
        evaluations: in order; empty where there were no selection rows.
        best_step: whose weights were kept.
        seconds: of work, earlier tries of a resumed run included.
        rows_per_second: trained rows by those seconds.
        precision: of the matrix products.
        processes: how many trained together.
    """

    steps: int
    epochs: float
    losses: tuple[tuple[int, float], ...]
    evaluations: tuple[Evaluation, ...]
    best_step: int
    seconds: float
    rows_per_second: float
    precision: str
    processes: int

    @property
    def best(self) -> Evaluation | None:
        """The evaluation whose weights were kept."""
        return next((e for e in self.evaluations if e.step == self.best_step), None)

    def facts(self) -> dict[str, Any]:
        """The same as a JSON value, for a manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Progress:
    """Where a run is: all that a checkpoint holds besides tensors."""

    step: int = 0
    seconds: float = 0.0
    losses: tuple[tuple[int, float], ...] = ()
    pending: tuple[float, int] = (0.0, 0)
    evaluations: tuple[Evaluation, ...] = ()
    best_step: int = 0

    @classmethod
    def of(cls, state: dict[str, Any]) -> Progress:
        """The same from the JSON of ``asdict``."""
        return cls(
            step=state["step"],
            seconds=state["seconds"],
            losses=tuple((int(s), float(v)) for s, v in state["losses"]),
            pending=(float(state["pending"][0]), int(state["pending"][1])),
            evaluations=tuple(Evaluation(**e) for e in state["evaluations"]),
            best_step=state["best_step"],
        )


def noted(progress: Progress, loss: float, stride: int, total: int) -> Progress:
    """One step further, with the loss added to the curve."""
    step = progress.step + 1
    amount, steps = progress.pending[0] + loss, progress.pending[1] + 1
    if steps < stride and step < total:
        return replace(progress, step=step, pending=(amount, steps))
    return replace(progress, step=step, losses=(*progress.losses, (step, amount / steps)), pending=(0.0, 0))
