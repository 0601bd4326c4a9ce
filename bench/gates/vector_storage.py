"""How far an embedder's metric may fall where its vectors are stored as int8 or as bits, in points.

Against the float vectors of the same candidate, on the same rows; what the candidate itself lost is the gate
``accuracy-drop``'s.
"""

from __future__ import annotations

from typing import Literal

from bench.gates import IntervalGateConfig
from bench.gates._changes import gate
from bench.record.limits import Points
from bench.record.model import Report, Verdict

PROBE = "vector-storage"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        storage: the form; the worst of all that were measured when absent.
        metric: of the task; its main one when absent.
        drop_at_most: such as ``0.5pt``.
    """

    storage: Literal["int8", "int8-codes", "binary"] | None = None
    metric: str | None = None
    drop_at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the loss is at most the limit."""
    main = (
        measurement.metric.removeprefix("stored_")
        for measurement in report.measurements
        if (measurement.probe, measurement.candidate) == ("vector_storage", candidate)
    )
    metric = f"stored_{config.metric or next(main, 'METRIC')}"
    judge = gate(
        "vector-storage",
        metric,
        "drop_at_most",
        "the change in {metric}",
        named="storage",
        only=("storage",),
        against=f"the float vectors of '{candidate}'",
    )
    return judge(report, candidate, config)
