"""How many evaluation rows the candidate's length limit may cut, as a share of them.

The figure is counted, not estimated: it has no interval, and rows that were not counted fail.
"""

from __future__ import annotations

from bench.gates import GateConfig, decide, missing
from bench.record.limits import Share
from bench.record.model import Report, Verdict

PROBE = None


class Config(GateConfig):
    """Options.

    Attributes:
        at_most: such as ``0%`` or ``0.01``.
        beyond_baseline: whether only rows count of which the baseline sees more: with a limit that the
            original has too, what it cuts as well is no loss.
    """

    at_most: Share
    beyond_baseline: bool = False


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Pass when the share of rows that were cut is at most the limit."""
    metric = "truncated_beyond_baseline" if config.beyond_baseline else "truncated_share"
    cut = next((entry.truncation for entry in report.candidates if entry.name == candidate), None)
    rows = None if cut is None else cut.beyond_baseline if config.beyond_baseline else cut.cut
    if cut is None or rows is None or not cut.rows:
        description = "how many rows the length limit cuts"
        return missing(report, "truncation", candidate, metric, config.at_most.text, description)
    text = cut.sentence("evaluation rows")
    if config.beyond_baseline and rows:
        text += f"; '{report.baseline}' sees more of {rows} of them"
    advice = "" if rows / cut.rows <= config.at_most.value else "; a higher max_length cuts fewer"
    return decide(
        "truncation",
        candidate,
        metric,
        rows / cut.rows,
        None,
        config.at_most,
        at_most=True,
        said=f"{text}{advice}",
    )
