"""How often a candidate must say the same of a row alone and in a batch, as a share of predictions."""

from __future__ import annotations

from bench.gates import IntervalGateConfig, decide, missing
from bench.record.limits import Share
from bench.record.model import Report, Verdict

PROBE = "batch-agreement"
_METRIC = "batch_agreement"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_least: such as ``99%`` or ``0.99``.
    """

    at_least: Share


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Judge the share of predictions that are the same at batch 1 and at a larger batch."""
    found = report.find(candidate, _METRIC)
    if found is None:
        return missing(report, "batch-agreement", candidate, _METRIC, config.at_least.text, _METRIC)
    size = found.conditions.get("batch_size")
    said = f"{100 * found.value:.2f} % of predictions are the same at batch 1 and batch {size}"
    if found.interval is not None:
        low, high = 100 * found.interval.low, 100 * found.interval.high
        said += f" ({100 * found.interval.level:.0f} % interval {low:.2f} to {high:.2f})"
    return decide(
        "batch-agreement",
        candidate,
        _METRIC,
        found.value,
        found.interval,
        config.at_least,
        at_most=False,
        said=said,
        judge=config.judge,
        advice="more evaluation rows would narrow it",
    )
