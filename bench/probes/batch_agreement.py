"""Whether a candidate says the same of a row alone and in a batch, whatever another model says.

Dynamic INT8 takes one range for all rows of a batch, so that neighbours and padding move an answer
(onnxruntime issue 10111). ``batch_agreement`` is the share of rows with the same prediction at batch 1 and
at a larger batch, ``batch_difference`` the largest difference of a probability (of a number, for
regression). What does not depend on its batch agrees on every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds
from bench.probes import Subject, agreement
from bench.record.figure import Figure
from bench.record.model import Measurement
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from compress.tasks import Prediction

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = True
FRESH = False
FIGURES = (Figure("batch_agreement", rows="page"), Figure("batch_difference", rows="page"))

_BATCH = 16


class Config(Strict):
    """Options.

    Attributes:
        batch_size: that is held against one row at a time; the largest of the bench's batch sizes when
            absent, and 16 where that is 1.
    """

    batch_size: int | None = Field(default=None, ge=2, le=4096)


def largest(alone: Sequence[Prediction], together: Sequence[Prediction]) -> float | None:
    """The largest difference of a probability; of a number where there are none. None for other answers."""
    apart = 0.0
    for first, second in zip(alone, together, strict=True):
        before, after = _numbers(first), _numbers(second)
        if before is None or after is None:
            return None
        apart = max(apart, float(np.abs(before - after).max(initial=0.0)))
    return apart


def _numbers(prediction: Prediction) -> np.ndarray | None:
    if prediction.probabilities is not None:
        return np.asarray(prediction.probabilities, dtype=np.float64)
    if isinstance(prediction.value, tuple | str):
        return None
    return np.asarray(prediction.value, dtype=np.float64).reshape(-1)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Figures of every candidate, the baseline among them."""
    widest = max(subject.bench.batch_sizes)
    size = config.batch_size or (widest if widest > 1 else _BATCH)
    measurements = []
    with log.progress("batch agreement", 2 * len(lanes) * len(subject.rows)) as bar:
        for lane in lanes:
            alone = feeds.predict(lane, subject, 1, bar.advance)
            together = feeds.predict(lane, subject, size, bar.advance)
            counts = agreement.equal_counts(together, alone, subject.head, 0.0)
            value, interval = agreement.share(counts, np.random.default_rng([subject.seed, 9]))
            differ = int(counts[:, 1].sum() - counts[:, 0].sum())
            apart = largest(alone, together)
            if differ and subject.head.answer not in ("number", "vector"):
                log.warning(
                    "%s: %d of %d answers differ between batch 1 and batch %d",
                    lane.name,
                    differ,
                    int(counts[:, 1].sum()),
                    size,
                )
            figures = [("batch_agreement", value, interval, f"{differ} predictions differ")]
            if apart is not None:
                figures.append(("batch_difference", apart, None, "largest of all rows"))
            measurements += [
                Measurement(
                    probe="batch_agreement",
                    candidate=lane.name,
                    metric=metric,
                    value=figure,
                    unit=UNIT,
                    better=BETTER if metric == "batch_agreement" else "lower",
                    interval=spread,
                    conditions={"rows": len(subject.rows), "batch_size": size},
                    notes=(f"against batch 1: {note}",),
                )
                for metric, figure, spread, note in figures
            ]
    return measurements
