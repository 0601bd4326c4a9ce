"""How much memory a candidate may take at its peak, in bytes or as a multiple of the baseline's."""

from __future__ import annotations

from typing import Literal

from bench.gates import GateConfig, decide, missing
from bench.machine import devices
from bench.record.limits import Bytes
from bench.record.model import Report, Verdict

PROBE = "memory"
_METRICS = {
    "process": "memory_peak_bytes",
    "model": "memory_model_bytes",
    "device": "device_memory_peak_bytes",
}


class Config(GateConfig):
    """Options.

    Attributes:
        at_most: such as ``512MiB``, or ``0.6x`` of the baseline's.
        of: the whole ``process``; the ``model`` alone (the process less what it held before opening it);
            the ``device``.
    """

    at_most: Bytes
    of: Literal["process", "model", "device"] = "process"


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the peak is at most the limit."""
    metric, limit = _METRICS[config.of], config.at_most
    measurement = report.find(candidate, metric)
    if measurement is None or (limit.relative and measurement.ratio is None):
        description = metric if measurement is None else f"{metric} as a multiple of the baseline's"
        return missing(report, "memory", candidate, metric, limit.text, description)
    text = f"peak of the {config.of}: {measurement.value / 2**20:.1f} MiB"
    value = measurement.value
    if limit.relative:
        value = measurement.ratio or 0.0
        text += f", {value:.3g}x of '{report.baseline}'"
    return decide(
        "memory",
        candidate,
        metric,
        value,
        None,
        limit,
        at_most=True,
        said=text,
        spoiled=f"it is of {devices.WHOLE}" if measurement.flags.whole_device else None,
    )
