"""How often a candidate must say the same of a row alone and in a batch, as a share of predictions."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._shares import gate
from bench.record.limits import Share

PROBE = "batch-agreement"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_least: such as ``99%`` or ``0.99``.
    """

    at_least: Share


check = gate(
    "batch-agreement",
    "batch_agreement",
    "of predictions are the same at batch 1 and batch {batch_size}",
    description="batch_agreement",
    advice="more evaluation rows would narrow it",
)
