"""How many answers may turn from right to wrong against the baseline, as a share of rows."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import MORE_ROWS
from bench.gates._shares import gate
from bench.record.limits import Share

PROBE = "flips"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        at_most: such as ``1%``.
    """

    at_most: Share


# Gains elsewhere do not pay for what is lost.
check = gate(
    "harmful-flips",
    "harmful_flips",
    "of answers right in '{baseline}' and wrong here",
    description="the share of harmful flips",
    at_most=True,
    advice=MORE_ROWS,
)
