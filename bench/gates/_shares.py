"""From a share of answers to a verdict: what the gates on agreement and on flips share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.gates import decide, missing
from bench.record.limits import Limit
from bench.record.model import Report, Verdict


def gate(
    name: str, metric: str, words: str, *, description: str, at_most: bool = False, advice: str
) -> Callable[[Report, str, Any], Verdict]:
    """The check of a gate on a share, whose option is ``at_most`` or ``at_least``.

    Args:
        name: of the gate.
        metric: to look for.
        words: what it is the share of; ``{baseline}`` and the figure's conditions stand for themselves.
        description: what is looked for, in words.
        at_most: whether the limit is an upper one.
        advice: what would settle it, said where it is inconclusive.
    """

    def check(report: Report, candidate: str, config: Any) -> Verdict:
        """Judge the share by its interval."""
        limit: Limit = config.at_most if at_most else config.at_least
        measurement = report.find(candidate, metric)
        if measurement is None:
            return missing(report, name, candidate, metric, limit.text, description)
        fields = {"batch_size": None, **measurement.conditions, "baseline": report.baseline}
        text = f"{100 * measurement.value:.2f} % {words.format_map(fields)}"
        if measurement.interval is not None:
            low, high = 100 * measurement.interval.low, 100 * measurement.interval.high
            text += f" ({100 * measurement.interval.level:.0f} % interval {low:.2f} to {high:.2f})"
        return decide(
            name,
            candidate,
            metric,
            measurement.value,
            measurement.interval,
            limit,
            at_most=at_most,
            said=text,
            judge=config.judge,
            advice=advice,
        )

    return check
