"""How many answers may turn from right to wrong against the baseline, as a share of rows."""

from __future__ import annotations

from bench.gates import IntervalGateConfig, decide, missing
from bench.gates._changes import MORE_ROWS
from bench.record.limits import Share
from bench.record.model import Report, Verdict

PROBE = "flips"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_most: such as ``1%``.
    """

    at_most: Share


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the share of harmful flips is at most the limit; gains elsewhere do not pay for them."""
    found = report.find(candidate, "harmful_flips")
    if found is None:
        return missing(
            report,
            "harmful-flips",
            candidate,
            "harmful_flips",
            config.at_most.text,
            "the share of harmful flips",
        )
    said = f"{100 * found.value:.2f} % of answers right in '{report.baseline}' and wrong here"
    if found.interval is not None:
        low, high = 100 * found.interval.low, 100 * found.interval.high
        said += f" ({100 * found.interval.level:.0f} % interval {low:.2f} to {high:.2f})"
    return decide(
        "harmful-flips",
        candidate,
        "harmful_flips",
        found.value,
        found.interval,
        config.at_most,
        at_most=True,
        judge=config.judge,
        advice=MORE_ROWS,
        said=said,
    )
