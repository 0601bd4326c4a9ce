"""Whether what stands behind a damage figure holds together: counts are counts, tables are square."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from bench.record.findings import Attribution, Matrix, Row
from bench.record.interval import Interval

MOST = 1e21
"""Of any figure in either direction: multiply-accumulates of a whole day's run are fewer."""

_COUNTED = 10**15
_PICTURE = "data:image/"


def problems(part: BaseModel) -> Iterator[str]:
    """What is wrong in a finding or a part of it, all the way down."""
    if isinstance(part, Interval):
        yield from of_interval(part)
        return
    if isinstance(part, Attribution) and not len(part.words) == len(part.before) == len(part.after):
        yield f"{len(part.words)} words with {len(part.before)} and {len(part.after)} weights"
    if isinstance(part, Matrix) and any(len(row) != len(part.labels) for row in (part.counts, *part.counts)):
        yield f"a matrix of {len(part.labels)} labels that is not square"
    if isinstance(part, Row) and part.image is not None and not part.image.startswith(_PICTURE):
        yield "an image that is no picture"
    for name, value in part:
        yield from _value(name, value)


def _value(name: str, value: object) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from problems(value)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _value(name, each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _value(name, each)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not 0 <= value <= _COUNTED:
            yield f"{name} is {value}, which is no count"
    elif isinstance(value, float) and not -MOST <= value <= MOST:
        yield f"{name} is {value}, which is no figure that can be measured"


def of_interval(interval: Interval) -> Iterator[str]:
    """What is wrong with an interval."""
    if not -MOST <= interval.low <= interval.high <= MOST:
        yield f"an interval from {interval.low} to {interval.high}"
    if not 0 < interval.level < 1:
        yield f"an interval of the level {interval.level}"
