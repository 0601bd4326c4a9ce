"""The rule that turns a figure with its interval and a limit into a verdict; nothing else decides.

``interval``, the default: *pass* when the whole interval is within the limit; *fail* when the figure is
beyond it and the interval bears that out; *inconclusive* otherwise. What bears it out depends on the limit.
One that says "no worse than before, give or take" (``1.05x``, ``0.5pt``) is a tolerance around *unchanged*,
and an interval that excludes "unchanged" shows that the figure moved; for any other limit (``0.25x``,
``2ms``) the interval must exclude the limit itself. Of six rules that were tried on equal models this one
raised no false alarm and found 96 % of 10 % slowdowns. That was with one look; what looking again costs is
in ``bench.verdicts.extension``.

Where others took much of the timed seconds the interval is widened (``bench.lanes.noise``) before it is
judged, and judged by the same rule: what is wholly within the limit passes, since all that others took is
counted already; only what touches it stays open.

``point``: the figure alone decides, as if it were exact. Only for those who ask for it.
"""

from __future__ import annotations

import math
from typing import Literal

from bench.record.model import Interval, Status

Judge = Literal["interval", "point"]
# Up to here a multiple of the baseline is a tolerance around "as fast as before"; beyond, a goal of its own.
WIDEST_TOLERANCE = 1.25
# A figure at the limit holds, rounding apart.
_NEAR = {"rel_tol": 1e-9, "abs_tol": 1e-12}


def unchanged_ratio(limit: float) -> float | None:
    """The ratio of "no change" where a limit is a tolerance around it; None for a goal of its own."""
    return 1.0 if 1 <= limit <= WIDEST_TOLERANCE else None


def within(value: float, limit: float) -> bool:
    """Whether a figure is at most the limit."""
    return value <= limit or math.isclose(value, limit, **_NEAR)


def settle(
    value: float,
    interval: Interval | None,
    limit: float,
    *,
    at_most: bool = True,
    unchanged: float | None = None,
    judge: Judge = "interval",
    trusted: bool = True,
    widened: bool = False,
    spoiled: bool = False,
) -> Status:
    """Pass, fail or inconclusive.

    Args:
        value: the figure.
        interval: of it; without one the figure is exact and decides alone.
        limit: to hold, in the same unit.
        at_most: whether the limit is an upper one.
        unchanged: the figure of "no change", where the limit is a tolerance around it.
        judge: by the interval or by the point.
        trusted: whether the measurement was undisturbed enough to carry a pass.
        widened: whether the interval was widened by what others took: wholly within the limit it passes like
            any other, and where it only touches the limit it does not tell.
        spoiled: whether the measurement counts for nothing, so that it carries a fail no more than a pass.
    """
    if spoiled:
        return "inconclusive"
    if not at_most:
        turned = None if interval is None else Interval(low=-interval.high, high=-interval.low)
        opposite = None if unchanged is None else -unchanged
        return settle(
            -value, turned, -limit, unchanged=opposite, judge=judge, trusted=trusted, widened=widened
        )
    if interval is None or judge == "point":
        return "pass" if within(value, limit) else "fail"
    if within(interval.high, limit):
        touches = widened and math.isclose(interval.high, limit, **_NEAR)
        return "pass" if trusted and not touches else "inconclusive"
    threshold = limit if unchanged is None else unchanged
    if (
        not within(value, limit)
        and interval.low > threshold
        and not math.isclose(interval.low, threshold, **_NEAR)
    ):
        return "fail"
    return "inconclusive"
