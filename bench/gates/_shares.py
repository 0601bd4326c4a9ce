"""From a share of answers to a verdict: what the gates on agreement and on flips share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.gates import decide, missing
from bench.record.limits import Limit
from bench.record.model import Report, Verdict


def gate(
    name: str, metric: str, words: str, *, wanted: str, at_most: bool = False, advice: str
) -> Callable[[Report, str, Any], Verdict]:
    """The check of a gate on a share, whose option is ``at_most`` or ``at_least``.

    Args:
        name: of the gate.
        metric: to look for.
        words: what it is the share of; ``{baseline}`` and the figure's conditions stand for themselves.
        wanted: what is looked for, in words.
        at_most: whether the limit is an upper one.
        advice: what would settle it, said where it is inconclusive.
    """

    def check(report: Report, candidate: str, config: Any) -> Verdict:
        """Judge the share by its interval."""
        limit: Limit = config.at_most if at_most else config.at_least
        found = report.find(candidate, metric)
        if found is None:
            return missing(report, name, candidate, metric, limit.text, wanted)
        known = {"batch_size": None, **found.conditions, "baseline": report.baseline}
        told = f"{100 * found.value:.2f} % {words.format_map(known)}"
        if found.interval is not None:
            low, high = 100 * found.interval.low, 100 * found.interval.high
            told += f" ({100 * found.interval.level:.0f} % interval {low:.2f} to {high:.2f})"
        return decide(
            name,
            candidate,
            metric,
            found.value,
            found.interval,
            limit,
            at_most=at_most,
            said=told,
            judge=config.judge,
            advice=advice,
        )

    return check
