"""What a candidate may lose on changed texts beyond what the baseline loses, in percentage points."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import judge
from bench.record.limits import Points
from bench.record.model import Report, Verdict

PROBE = "robustness"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        change: such as ``typos``; the worst one when absent.
        extra_drop_at_most: such as ``2pt``.
    """

    change: str | None = None
    extra_drop_at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the extra loss is at most the limit."""
    return judge(
        report,
        "robustness",
        candidate,
        "robustness",
        config.extra_drop_at_most,
        wanted="the loss on changed texts",
        named="change",
        only={"change": config.change},
        how=config.judge,
    )
