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
    found = report.find(candidate, metric)
    if found is None or (limit.relative and found.ratio is None):
        wanted = metric if found is None else f"{metric} as a multiple of the baseline's"
        return missing(report, "memory", candidate, metric, limit.text, wanted)
    said = f"peak of the {config.of}: {found.value / 2**20:.1f} MiB"
    value = found.value
    if limit.relative:
        value = found.ratio or 0.0
        said += f", {value:.3g}x of '{report.baseline}'"
    return decide(
        "memory",
        candidate,
        metric,
        value,
        None,
        limit,
        at_most=True,
        said=said,
        spoiled=f"it is of {devices.WHOLE}" if found.flags.whole_device else None,
    )
