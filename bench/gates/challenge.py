"""How far the share of passed cases of a challenge set may fall below the baseline's, in points."""

from __future__ import annotations

from bench.gates import IntervalGateConfig
from bench.gates._changes import judge
from bench.record.limits import Points
from bench.record.model import Report, Verdict

PROBE = "challenge"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        set: its name; the worst one when absent.
        drop_at_most: such as ``2pt``.
    """

    set: str | None = None
    drop_at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the set's share falls by at most the limit."""
    return judge(
        report,
        "challenge",
        candidate,
        "challenge",
        config.drop_at_most,
        wanted="the share of passed cases",
        named="set",
        only={"set": config.set},
        how=config.judge,
    )
