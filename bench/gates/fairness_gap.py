"""How far the gap between groups may grow against the baseline's, in percentage points."""

from __future__ import annotations

from typing import Literal

from bench.gates import IntervalGateConfig
from bench.gates._changes import gate
from bench.record.limits import Points

PROBE = "fairness"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        of: ``metric``, ``equalized odds`` or ``score``; the one that grew most when absent.
        source: the column or set of templates; any when absent.
        rise_at_most: such as ``1pt``.
    """

    of: Literal["metric", "equalized odds", "score"] | None = None
    source: str | None = None
    rise_at_most: Points


check = gate(
    "fairness-gap",
    "fairness_gap",
    "rise_at_most",
    "the gap between groups",
    named="of",
    only=("of", "source"),
)
