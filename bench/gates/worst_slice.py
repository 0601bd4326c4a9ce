"""How far the metric may fall in the slice of the data where it falls most, in percentage points.

The interval is wide enough to hold for all slices at once: the worst of many looks worse than it is.
"""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import gate
from bench.record.limits import Points

PROBE = "slices"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        drop_at_most: such as ``5pt``.
    """

    drop_at_most: Points


check = gate("worst-slice", "worst_slice", "drop_at_most", "the change in the worst slice", named="slice")
