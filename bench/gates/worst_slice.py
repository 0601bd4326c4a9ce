"""How far the metric may fall in the slice of the data where it falls most, in percentage points.

The interval is wide enough to hold for all slices at once: the worst of many looks worse than it is.
"""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import judge
from bench.record.limits import Points
from bench.record.model import Report, Verdict

PROBE = "slices"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        drop_at_most: such as ``5pt``.
    """

    drop_at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the worst slice loses at most the limit."""
    return judge(
        report,
        "worst-slice",
        candidate,
        "worst_slice",
        config.drop_at_most,
        wanted="the change in the worst slice",
        named="slice",
        how=config.judge,
    )
