"""Whether a stored report holds together: what its parts refer to is there, and its figures can be figures.

The types of a report's fields are those of ``bench.record.model``. This is what types cannot say: names that
must be among the candidates, figures that must have one unit and a size that exists, facts of free form that
a gate or a page reads. A seal does not help here, since whoever writes a file can seal it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.record.finding import Part, Unread
from bench.record.interval import Interval
from bench.record.model import Measurement, Report
from compress.errors import UserError
from compress.reading import files
from compress.strict import Strict

# Of any figure in either direction: multiply-accumulates of a whole day's run are fewer.
MOST = 1e21
_COUNTED = 10**15
_NEVER_NEGATIVE = frozenset({"ms", "s", "mJ", "count", "per_s"})
_ROUNDS = 10**6  # where the samples were not kept
_BITS = 4  # of a hexadecimal digit
_GIVE = "measure again with 'paredown bench --json', and give the file that it writes"


class _Part(Strict):
    """What is read of a part of free form; the rest of it is nobody's business here."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)


class _Case(_Part):
    largest: float


class _Parity(_Part):
    cases: tuple[_Case, ...] = ()
    divergence_mean: float | None = None


class _Facts(_Part):
    parity: _Parity | None = None
    against_float: _Parity | None = None


def check(report: Report, where: str) -> None:
    """Refuse a report whose parts contradict each other.

    Args:
        report: that was read.
        where: it comes from, for messages.

    Raises:
        UserError: the first contradiction, with its place.
    """
    for problem in _problems(report):
        raise UserError(f"{where} does not hold together: {files.shown(problem)}; {_GIVE}")


def _problems(report: Report) -> Iterator[str]:
    names = [one.name for one in report.candidates]
    if not names:
        yield "it has no candidates"
    if len(set(names)) < len(names):
        yield f"two candidates have one name ({', '.join(names)})"
    if report.baseline not in names:
        yield f"the baseline '{report.baseline}' is not among its candidates ({', '.join(names)})"
    if report.seed < 0 or any(one.threads < 1 for one in report.candidates):
        yield "a seed below 0, or a candidate with no threads"
    for i, one in enumerate(report.measurements):
        if one.candidate not in names:
            yield f"measurement {i} is of '{one.candidate}', which is no candidate ({', '.join(names)})"
        for reason in _figure(one):
            yield f"measurement {i} ({one.metric} of '{one.candidate}'): {reason}"
    for verdict in report.verdicts:
        if verdict.candidate not in names:
            yield f"the gate '{verdict.gate}' judged '{verdict.candidate}', which is no candidate"
        for reason in _parts("verdict", verdict):
            yield f"the verdict of the gate '{verdict.gate}': {reason}"
    yield from _units(report)
    yield from _free(report, names)


def _figure(one: Measurement) -> Iterator[str]:
    """What is wrong with a measurement by itself."""
    for name in ("value", "ratio", "difference", "blind", "disturbed"):
        value = getattr(one, name)
        if value is not None and not -MOST <= value <= MOST:
            yield f"its {name} {value} is no figure that can be measured"
    if one.unit in _NEVER_NEGATIVE and (one.value < 0 or any(sample < 0 for sample in one.samples)):
        yield f"below 0 {one.unit}"
    if one.ratio is not None and one.ratio < 0 and one.value >= 0 and one.unit in _NEVER_NEGATIVE:
        yield f"a ratio of {one.ratio}"
    if not all(-MOST <= sample <= MOST for sample in one.samples):
        yield "a sample that is no figure that can be measured"
    for interval in (one.interval, one.ratio_interval, one.difference_interval):
        if interval is not None:
            yield from _interval(interval)
    if one.rounds is not None and not 1 <= one.rounds <= (len(one.samples) or _ROUNDS):
        yield f"{one.rounds} rounds of {len(one.samples)} samples"
    yield from _conditions(one)
    yield from _rows(one)
    if one.finding is not None:
        yield from _parts("finding", one.finding)


def _parts(name: str, value: object, least: int = 0) -> Iterator[str]:
    """What is wrong in a finding or a part of it, all the way down: counts and figures.

    Args:
        name: of the value.
        value: a finding, or a part of it.
        least: that an integer may be. In a finding that nobody here knows it need be no count.
    """
    if isinstance(value, Unread):
        least = -_COUNTED
    if isinstance(value, Interval):
        yield from _interval(value)
    elif isinstance(value, BaseModel):
        yield from value.problems() if isinstance(value, Part) else ()
        for inner, part in value:
            yield from _parts(inner, part, least)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _parts(name, each, least)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _parts(name, each, least)
    elif isinstance(value, bool):
        return
    elif isinstance(value, int):
        if not least <= value <= _COUNTED:
            yield f"{name} is {value}, which is no count"
    elif isinstance(value, float) and not -MOST <= value <= MOST:
        yield f"{name} is {value}, which is no figure that can be measured"


def _interval(interval: Interval) -> Iterator[str]:
    if not -MOST <= interval.low <= interval.high <= MOST:
        yield f"an interval from {interval.low} to {interval.high}"
    if not 0 < interval.level < 1:
        yield f"an interval of the level {interval.level}"


def _conditions(one: Measurement) -> Iterator[str]:
    size, length = one.conditions.get("batch_size", 1), one.conditions.get("length", "data")
    if not isinstance(size, int) or size < 1:
        yield f"the batch size {size!r}"
    if length != "data" and not (isinstance(length, int) and length >= 1):
        yield f"the length {length!r}"


def _rows(one: Measurement) -> Iterator[str]:
    """The rows behind a metric: counts that fit, and one bit for each."""
    paired = one.paired
    if paired is not None and not (
        min(paired.rows, paired.worse, paired.better) >= 0
        and paired.worse + paired.better <= paired.rows
        and 0 <= paired.p_value <= 1
    ):
        yield "counts of differing rows that do not fit each other"
    if one.right is None:
        return
    rows = one.conditions.get("rows")
    if not (
        re.fullmatch("(?:[0-9a-f]{2})*", one.right)
        and isinstance(rows, int)
        and 0 <= rows <= len(one.right) * _BITS
    ):
        yield "the rows that are right are no bitmap of its rows"


def _units(report: Report) -> Iterator[str]:
    units: dict[str, str] = {}
    for one in report.measurements:
        if not one.unit.isidentifier():
            yield f"{one.metric} of '{one.candidate}' has the unit '{one.unit}'"
        if units.setdefault(one.metric, one.unit) != one.unit:
            yield f"{one.metric} is in {units[one.metric]} and in {one.unit}, which cannot be compared"


def _free(report: Report, names: list[str]) -> Iterator[str]:
    """The parts of free form, as far as something reads them."""
    for name, facts in report.facts.items():
        if name not in names:
            yield f"it has facts of '{name}', which is no candidate"
        yield from _fits(_Facts, facts, f"facts of '{name}'")


def _fits(model: type[BaseModel], value: Any, where: str) -> Iterator[str]:
    try:
        model.model_validate(value)
    except ValidationError as cause:
        first = cause.errors()[0]
        yield f"{'.'.join([where, *map(str, first['loc'])])}: {first['msg']}"
