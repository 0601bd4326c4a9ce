"""The interval that every record of bench states figures with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Interval(BaseModel):
    """A confidence interval; ``level`` is its coverage, such as 0.95."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: float
    high: float
    level: float = 0.95
