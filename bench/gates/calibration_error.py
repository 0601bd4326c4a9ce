"""How far confidence may drift from being right, against the baseline, in percentage points."""

from __future__ import annotations

from typing import Literal

from bench.gates import IntervalGateConfig
from bench.gates._changes import judge
from bench.record.limits import Points
from bench.record.model import Report, Verdict

PROBE = "calibration-error"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        of: ``ece`` (expected calibration error) or ``brier`` (its hundredths count as points).
        scaled: whether both models are taken at the temperature that fits them.
        rise_at_most: such as ``1pt``.
    """

    of: Literal["ece", "brier"] = "ece"
    scaled: bool = False
    rise_at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the error rises by at most the limit."""
    metric = config.of + ("_scaled" if config.scaled else "")
    return judge(
        report,
        "calibration-error",
        candidate,
        metric,
        config.rise_at_most,
        wanted=f"the change in {metric}",
        how=config.judge,
    )
