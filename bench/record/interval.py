"""The interval that every record of bench states figures with."""

from __future__ import annotations

from compress.strict import Strict


class Interval(Strict):
    """A confidence interval; ``level`` is its coverage, such as 0.95."""

    low: float
    high: float
    level: float = 0.95
