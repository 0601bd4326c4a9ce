"""How often a candidate must say the same as the baseline, as a share of predictions."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._shares import gate
from bench.record.limits import Share

PROBE = "agreement"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_least: such as ``98%`` or ``0.98``.
    """

    at_least: Share


check = gate(
    "agreement",
    "agreement",
    "of predictions as '{baseline}'",
    description="agreement",
    advice="more evaluation rows would narrow it",
)
