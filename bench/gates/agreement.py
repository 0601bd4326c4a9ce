"""How often a candidate must say the same as the baseline, as a share of predictions."""

from __future__ import annotations

from bench.gates import IntervalGateConfig, decide, missing
from bench.record.limits import Share
from bench.record.model import Report, Verdict

PROBE = "agreement"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_least: such as ``98%`` or ``0.98``.
    """

    at_least: Share


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Judge the share of equal predictions by its interval."""
    found = report.find(candidate, "agreement")
    if found is None:
        return missing(report, "agreement", candidate, "agreement", config.at_least.text, "agreement")
    said = f"{100 * found.value:.2f} % of predictions as '{report.baseline}'"
    if found.interval is not None:
        low, high = 100 * found.interval.low, 100 * found.interval.high
        said += f" ({100 * found.interval.level:.0f} % interval {low:.2f} to {high:.2f})"
    return decide(
        "agreement",
        candidate,
        "agreement",
        found.value,
        found.interval,
        config.at_least,
        at_most=False,
        said=said,
        judge=config.judge,
        advice="more evaluation rows would narrow it",
    )
