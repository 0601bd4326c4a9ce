"""What a candidate may lose on changed texts beyond what the baseline loses, in percentage points."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import gate
from bench.record.limits import Points

PROBE = "robustness"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        change: such as ``typos``; the worst one when absent.
        extra_drop_at_most: such as ``2pt``.
    """

    change: str | None = None
    extra_drop_at_most: Points


check = gate(
    "robustness",
    "robustness",
    "extra_drop_at_most",
    "the loss on changed texts",
    named="change",
    only=("change",),
)
