"""How far confidence may drift from being right, against the baseline, in percentage points."""

from __future__ import annotations

from typing import Literal

from bench.gates import IntervalGateConfig
from bench.gates._changes import gate
from bench.record.limits import Points

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


check = gate(
    "calibration-error",
    lambda config: config.of + ("_scaled" if config.scaled else ""),
    "rise_at_most",
    "the change in {metric}",
)
