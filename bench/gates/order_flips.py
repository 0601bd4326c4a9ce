"""How often a candidate may turn two documents of a query round against the baseline, as a share of pairs."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._shares import gate
from bench.record.limits import Share

PROBE = "order-flips"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_most: such as ``1%`` or ``0.01``.
    """

    at_most: Share


check = gate(
    "order-flips",
    "order_flips",
    "of pairs of a relevant and a less relevant document ordered otherwise than by '{baseline}'",
    description="the share of order flips",
    at_most=True,
    advice="more evaluation queries would narrow it",
)
