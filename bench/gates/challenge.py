"""How far the share of passed cases of a challenge set may fall below the baseline's, in points."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import gate
from bench.record.limits import Points

PROBE = "challenge"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        set: its name; the worst one when absent.
        drop_at_most: such as ``2pt``.
    """

    set: str | None = None
    drop_at_most: Points


check = gate(
    "challenge", "challenge", "drop_at_most", "the share of passed cases", named="set", only=("set",)
)
