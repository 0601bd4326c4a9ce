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

from bench.record.interval import Interval
from bench.record.model import Measurement, Report
from compress.errors import UserError
from compress.reading import files
from compress.strict import Strict

# Of any figure in either direction: multiply-accumulates of a whole day's run are fewer.
MOST = 1e21
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


def check(report: Report, source: str) -> None:
    """Refuse a report whose parts contradict each other.

    Args:
        report: that was read.
        source: where it comes from, for messages.

    Raises:
        UserError: the first contradiction, with its place.
    """
    for problem in _problems(report):
        raise UserError(f"{source} does not hold together: {files.shown(problem)}; {_GIVE}")


def _problems(report: Report) -> Iterator[str]:
    names = [candidate.name for candidate in report.candidates]
    if not names:
        yield "it has no candidates"
    if len(set(names)) < len(names):
        yield f"two candidates have one name ({', '.join(names)})"
    if report.baseline not in names:
        yield f"the baseline '{report.baseline}' is not among its candidates ({', '.join(names)})"
    if report.seed < 0 or any(candidate.threads < 1 for candidate in report.candidates):
        yield "a seed below 0, or a candidate with no threads"
    for i, figure in enumerate(report.measurements):
        if figure.candidate not in names:
            yield f"measurement {i} is of '{figure.candidate}', which is no candidate ({', '.join(names)})"
        for reason in _figure(figure):
            yield f"measurement {i} ({figure.metric} of '{figure.candidate}'): {reason}"
    for verdict in report.verdicts:
        if verdict.candidate not in names:
            yield f"the gate '{verdict.gate}' judged '{verdict.candidate}', which is no candidate"
        for reason in _parts("verdict", verdict):
            yield f"the verdict of the gate '{verdict.gate}': {reason}"
    yield from _units(report)
    yield from _free(report, names)


def _figure(measurement: Measurement) -> Iterator[str]:
    """What is wrong with a measurement by itself."""
    for name in ("value", "ratio", "difference", "blind", "disturbed"):
        value = getattr(measurement, name)
        if value is not None and not -MOST <= value <= MOST:
            yield f"its {name} {value} is no figure that can be measured"
    if measurement.unit in _NEVER_NEGATIVE and (
        measurement.value < 0 or any(sample < 0 for sample in measurement.samples)
    ):
        yield f"below 0 {measurement.unit}"
    if (
        measurement.ratio is not None
        and measurement.ratio < 0
        and measurement.value >= 0
        and measurement.unit in _NEVER_NEGATIVE
    ):
        yield f"a ratio of {measurement.ratio}"
    if not all(-MOST <= sample <= MOST for sample in measurement.samples):
        yield "a sample that is no figure that can be measured"
    for interval in (measurement.interval, measurement.ratio_interval, measurement.difference_interval):
        if interval is not None:
            yield from _interval(interval)
    if measurement.rounds is not None and not 1 <= measurement.rounds <= (
        len(measurement.samples) or _ROUNDS
    ):
        yield f"{measurement.rounds} rounds of {len(measurement.samples)} samples"
    yield from _conditions(measurement)
    yield from _rows(measurement)
    if measurement.finding is not None:
        yield from _parts("finding", measurement.finding)


def _parts(name: str, value: object) -> Iterator[str]:
    """Figures that cannot be, in a finding or a verdict, all the way down; counts are their models' own."""
    if isinstance(value, Interval):
        yield from _interval(value)
    elif isinstance(value, BaseModel):
        for inner, part in value:
            yield from _parts(inner, part)
    elif isinstance(value, tuple | list):
        for element in value:
            yield from _parts(name, element)
    elif isinstance(value, dict):
        for element in value.values():
            yield from _parts(name, element)
    elif isinstance(value, float) and not -MOST <= value <= MOST:
        yield f"{name} is {value}, which is no figure that can be measured"


def _interval(interval: Interval) -> Iterator[str]:
    if not -MOST <= interval.low <= interval.high <= MOST:
        yield f"an interval from {interval.low} to {interval.high}"
    if not 0 < interval.level < 1:
        yield f"an interval of the level {interval.level}"


def _conditions(measurement: Measurement) -> Iterator[str]:
    size, length = measurement.conditions.get("batch_size", 1), measurement.conditions.get("length", "data")
    if not isinstance(size, int) or size < 1:
        yield f"the batch size {size!r}"
    if length != "data" and not (isinstance(length, int) and length >= 1):
        yield f"the length {length!r}"


def _rows(measurement: Measurement) -> Iterator[str]:
    """The rows behind a metric: counts that fit, and one bit for each."""
    paired = measurement.paired
    if paired is not None and not (
        min(paired.rows, paired.worse, paired.better) >= 0
        and paired.worse + paired.better <= paired.rows
        and 0 <= paired.p_value <= 1
    ):
        yield "counts of differing rows that do not fit each other"
    if measurement.right is None:
        return
    rows = measurement.conditions.get("rows")
    if not (
        re.fullmatch("(?:[0-9a-f]{2})*", measurement.right)
        and isinstance(rows, int)
        and 0 <= rows <= len(measurement.right) * _BITS
    ):
        yield "the rows that are right are no bitmap of its rows"


def _units(report: Report) -> Iterator[str]:
    units: dict[str, str] = {}
    for entry in report.measurements:
        if not entry.unit.isidentifier():
            yield f"{entry.metric} of '{entry.candidate}' has the unit '{entry.unit}'"
        if units.setdefault(entry.metric, entry.unit) != entry.unit:
            yield f"{entry.metric} is in {units[entry.metric]} and in {entry.unit}, which cannot be compared"


def _free(report: Report, names: list[str]) -> Iterator[str]:
    """The parts of free form, as far as something reads them."""
    for name, facts in report.facts.items():
        if name not in names:
            yield f"it has facts of '{name}', which is no candidate"
        yield from _fits(_Facts, facts, f"facts of '{name}'")


def _fits(model: type[BaseModel], value: Any, place: str) -> Iterator[str]:
    try:
        model.model_validate(value)
    except ValidationError as cause:
        first = cause.errors()[0]
        yield f"{'.'.join([place, *map(str, first['loc'])])}: {first['msg']}"
