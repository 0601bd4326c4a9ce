"""How large an artifact may be on disk, in bytes or as a multiple of the baseline's."""

from __future__ import annotations

from typing import Literal

from bench.gates import GateConfig, decide, missing
from bench.record.limits import Bytes
from bench.record.model import Report, Verdict

PROBE = "size"
_METRICS = {"artifact": "size_bytes", "weights": "weights_bytes"}


class Config(GateConfig):
    """Options.

    Attributes:
        at_most: such as ``25MB``, or ``0.25x`` of the baseline's.
        of: all files of the ``artifact``, tokenizer included, or its ``weights`` alone.
    """

    at_most: Bytes
    of: Literal["artifact", "weights"] = "artifact"


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the size is at most the limit."""
    metric, limit = _METRICS[config.of], config.at_most
    measurement = report.find(candidate, metric)
    if measurement is None or (limit.relative and measurement.ratio is None):
        return missing(report, "size", candidate, metric, limit.text, metric)
    text = f"{measurement.value / 1e6:.2f} MB on disk"
    value = measurement.value
    if limit.relative:
        value = measurement.ratio or 0.0
        text += f", {value:.3g}x of '{report.baseline}'"
    return decide("size", candidate, metric, value, None, limit, at_most=True, said=text)
