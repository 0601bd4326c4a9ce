"""How far the gap between groups may grow against the baseline's, in percentage points."""

from __future__ import annotations

from typing import Literal

from bench.gates import IntervalGateConfig
from bench.gates._changes import judge
from bench.record.limits import Points
from bench.record.model import Report, Verdict

PROBE = "fairness"


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        of: ``metric``, ``equalized odds`` or ``score``; the one that grew most when absent.
        source: the column or set of templates; any when absent.
        rise_at_most: such as ``1pt``.
    """

    of: Literal["metric", "equalized odds", "score"] | None = None
    source: str | None = None
    rise_at_most: Points


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the gap grows by at most the limit."""
    return judge(
        report,
        "fairness-gap",
        candidate,
        "fairness_gap",
        config.rise_at_most,
        wanted="the gap between groups",
        named="of",
        only={"of": config.of, "source": config.source},
        how=config.judge,
    )
