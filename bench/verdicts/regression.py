"""What changed since a stored report of the same machine and rows, with an interval.

Milliseconds of two days do not compare well even on one machine. Where both reports measured the same
reference (the same artifact in the same runtime) beside the candidate, its ratios to that reference are
compared, which cancels the machine's mood; otherwise the figures themselves are. Intervals of the
two runs are joined by the MOVER rule (Zou and Donner 2008, eq. 3): on logarithms for ratios, on points for
shares. Where both know which rows were right, the two are paired row by row instead::

    low = d - sqrt((new - new_low)^2 + (old_high - old)^2),  high likewise

A figure without an interval is one of four things. Bytes on disk and counted operations are exact. Memory of
a process differs a little each time: ``MEMORY`` is taken for its spread (recorded reports of one artifact on
one machine differ by up to 0.5 %). Seconds to start have as many samples as there were starts: their interval
is Student's, on logarithms, and wide with two. Anything else cannot be told from noise, and stays
inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench import probes
from bench.lanes import noise
from bench.machine import devices
from bench.record.figure import Figure
from bench.record.model import Candidate, Interval, Measurement, Report
from bench.statistics import paired
from bench.verdicts.baselines import NoBaseline, differences
from compress.errors import UserError

# A reference that takes this much more or less time than it did: the machine is not the one it was.
MOVED = 1.33
# What memory of two runs may differ by without a reason, as a share; several times what was seen.
MEMORY = 0.02
_LEVEL = 0.95


@dataclass(frozen=True)
class Change:
    """How a figure changed; more than ``unchanged`` is worse.

    Attributes:
        old: the figure then.
        new: the figure now.
        unit: of both.
        worse: cost now over cost then, or points lost.
        unchanged: 1 for a cost ratio, 0 for points.
        interval: of ``worse``; None where the figures are exact.
        points: whether ``worse`` is in percentage points.
        how: what was compared, in words.
        moved: why the comparison cannot be believed, where it cannot.
        spoiled: why one of the two runs counts for nothing, where it does not.
        unknown: why the figures cannot be told from noise, where they cannot.
        widened: whether the interval counts what others took.
    """

    old: float
    new: float
    unit: str
    worse: float
    unchanged: float
    interval: Interval | None
    points: bool
    how: str
    moved: str | None = None
    spoiled: str | None = None
    unknown: str | None = None
    widened: bool = False


def _named(report: Report, name: str) -> Candidate | None:
    return next((candidate for candidate in report.candidates if candidate.name == name), None)


def _same_setting(then: Candidate, now: Candidate) -> bool:
    return (then.runtime, then.runtime_options, then.device, then.threads) == (
        now.runtime,
        now.runtime_options,
        now.device,
        now.threads,
    )


def refuse(new: Report, old: Report, candidate: str) -> None:
    """Refuse to compare what is not the same thing measured in the same way.

    Raises:
        NoBaseline: another machine.
        UserError: another task, other rows, or a candidate in another setting.
    """
    changes = differences(old.environment, new.environment)
    if changes:
        raise NoBaseline(
            f"the baseline was measured on another machine ({'; '.join(changes)}): times of two machines are "
            "not compared; save a baseline here with 'paredown baseline save'"
        )
    if old.task != new.task:
        raise UserError(f"the baseline is of {old.task} and this report of {new.task}: they are not compared")
    prints = [report.data.fingerprint for report in (old, new)]
    if None in prints or prints[0] != prints[1]:
        hashes = [str(digest)[:12] if digest else "none" for digest in prints]
        raise UserError(
            f"the baseline was measured on other evaluation rows (fingerprint {hashes[0]} there, {hashes[1]} "
            "here): measure both on the same data"
        )
    then, now = _named(old, candidate), _named(new, candidate)
    if then is None or now is None:
        names = ", ".join(entry.name for entry in old.candidates)
        raise UserError(f"the baseline has no candidate '{candidate}'; it has: {names}")
    if not _same_setting(then, now):
        before, after = (
            f"{entry.runtime} on {entry.device}, {entry.threads} threads" for entry in (then, now)
        )
        raise UserError(
            f"'{candidate}' ran in another setting when the baseline was measured ({before}; now {after}): "
            "measure both in the same one"
        )


def shared_reference(new: Report, old: Report, candidate: str) -> bool:
    """Whether both reports measured the same reference beside the candidate."""
    then, now = _named(old, old.baseline), _named(new, new.baseline)
    return (
        candidate not in (new.baseline, old.baseline)
        and then is not None
        and now is not None
        and then.artifact == now.artifact
        and _same_setting(then, now)
    )


def mover(
    new: float, new_interval: Interval | None, old: float, old_interval: Interval | None
) -> Interval | None:
    """The interval of new minus old, from the interval of each; None where one has none."""
    if new_interval is None or old_interval is None:
        return None
    below = math.hypot(new - new_interval.low, old_interval.high - old)
    above = math.hypot(new_interval.high - new, old - old_interval.low)
    return Interval(low=new - old - below, high=new - old + above, level=new_interval.level)


def _log(interval: Interval | None) -> Interval | None:
    if interval is None or interval.low <= 0:
        return None
    return interval.model_copy(update={"low": math.log(interval.low), "high": math.log(interval.high)})


def around(value: float, *samples: Sequence[float]) -> Interval | None:
    """The interval of a figure by what its repeated samples, and those of what divides it, differ by.

    Args:
        value: the figure, or the ratio of two.
        samples: of each figure in it, all above 0.

    Returns:
        Student's interval on logarithms around the value; None where one has fewer than two samples.
    """
    from scipy.stats import t

    half = 0.0
    for series in samples:
        if len(series) < 2:
            return None
        error = float(np.std(np.log(series), ddof=1)) / math.sqrt(len(series))
        half = math.hypot(half, float(t.ppf(0.5 + _LEVEL / 2, len(series) - 1)) * error)
    return Interval(low=value * math.exp(-half), high=value * math.exp(half), level=_LEVEL)


def _unknown(figure: Figure) -> str:
    advice = figure.advice or "take a metric that has an interval, or 'judge: point' to take it as exact"
    return f"one of the runs has a single figure, whose spread is not known: {advice}"


def _points(new: Measurement, old: Measurement, *, shared: bool) -> Change:
    sign = 100 if new.better == "lower" else -100
    rows = new.conditions.get("rows")
    gap: Interval | None
    if new.right and old.right and isinstance(rows, int) and old.conditions.get("rows") == rows:
        pair = paired.compare(paired.unpack(new.right, rows), paired.unpack(old.right, rows))
        gap = paired.tango(pair.worse, pair.better, rows)
        value = new.value - old.value
        method = f"row by row, {pair.better} better, {pair.worse} worse, McNemar p = {pair.p_value:.2g}"
    elif shared and new.difference is not None and old.difference is not None:
        gap = mover(new.difference, new.difference_interval, old.difference, old.difference_interval)
        value, method = new.difference - old.difference, "the change against the shared reference"
    else:
        gap = mover(new.value, new.interval, old.value, old.interval)
        value, method = new.value - old.value, "the figures of the two runs"
    interval = None
    if gap is not None:
        ends = sorted((sign * gap.low, sign * gap.high))
        interval = Interval(low=ends[0], high=ends[1], level=gap.level)
    return Change(old.value, new.value, new.unit, sign * value + 0.0, 0.0, interval, True, method)


def _ratio(
    new: Measurement,
    old: Measurement,
    bases: tuple[Measurement | None, Measurement | None],
    exactness: str,
) -> Change:
    """How a cost changed.

    Args:
        new: the figure now.
        old: the figure then.
        bases: those of the shared reference, now and then; None where there is none.
        exactness: of the figure, see ``Figure``.
    """
    base_now, base_then = bases
    if base_now is not None and base_then is not None and new.ratio and old.ratio:
        now = (new.ratio, new.ratio_interval or around(new.ratio, new.samples, base_now.samples))
        then = (old.ratio, old.ratio_interval or around(old.ratio, old.samples, base_then.samples))
        method = "the ratios to the shared reference"
    else:
        now = (new.value, new.interval or around(new.value, new.samples))
        then = (old.value, old.interval or around(old.value, old.samples))
        method = "the figures of the two runs"
    if now[0] <= 0 or then[0] <= 0:
        raise UserError(f"{new.metric} is {old.value:g} there and {new.value:g} here: zero has no ratio")
    gap = mover(math.log(now[0]), _log(now[1]), math.log(then[0]), _log(then[1]))
    worse, interval = now[0] / then[0], None
    if gap is not None:
        interval = Interval(low=math.exp(gap.low), high=math.exp(gap.high), level=gap.level)
    elif exactness == "memory":
        interval = Interval(low=worse / (1 + MEMORY), high=worse * (1 + MEMORY), level=_LEVEL)
        method = f"{method}, which may differ by {100 * MEMORY:g} % without a reason"
    if new.better == "higher":
        worse = 1 / worse
        if interval is not None:
            interval = Interval(low=1 / interval.high, high=1 / interval.low, level=interval.level)
    return Change(old.value, new.value, new.unit, worse, 1.0, interval, False, method)


def _moved(new: Report, old: Report, now: Measurement) -> str | None:
    """Whether the reference itself takes another time than it did, in words."""
    base = new.find(new.baseline, now.metric, **now.conditions)
    then = old.find(old.baseline, now.metric, **now.conditions)
    if base is None or then is None or not then.value:
        return None
    ratio = base.value / then.value
    if 1 / MOVED <= ratio <= MOVED:
        return None
    return (
        f"the reference '{new.baseline}' itself went from {then.value:.3g} to {base.value:.3g} {base.unit} "
        "on what calls itself the same machine: measure again at rest, or save a new baseline"
    )


def in_points(measurement: Measurement) -> bool:
    """Whether a change of that figure is in percentage points, not in percent."""
    return measurement.unit in {"share", "correlation"}


def change(new: Report, old: Report, now: Measurement) -> Change | None:
    """How a measurement of the new report changed since the old one; None where the old one lacks it.

    Raises:
        UserError: the two are in different units.
    """
    figure = probes.figure(now.probe, now.metric)
    conditions = {key: value for key, value in now.conditions.items() if key not in figure.found}
    then = old.find(now.candidate, now.metric, **conditions)
    if then is None:
        return None
    if (then.unit, then.better) != (now.unit, now.better):
        raise UserError(
            f"{now.metric} is in {then.unit} in the baseline and in {now.unit} here: they are not compared; "
            "measure the baseline again"
        )
    shared = shared_reference(new, old, now.candidate)
    exactness = figure.exactness(now.unit)
    if in_points(now):
        comparison = _points(now, then, shared=shared)
        return replace(comparison, unknown=_unknown(figure) if comparison.interval is None else None)
    bases = (
        (new.find(new.baseline, now.metric, **conditions), old.find(old.baseline, now.metric, **conditions))
        if shared
        else (None, None)
    )
    comparison = _ratio(now, then, bases, exactness)
    flags = now.flags | then.flags
    if flags.whole_device:
        return replace(comparison, interval=None, unknown=f"one of the runs has memory of {devices.WHOLE}")
    if exactness == "timed" and comparison.interval is not None:
        share = max(measurement.disturbed or 0.0 for measurement in (now, then))
        counted = noise.widened(comparison.interval, share)
        if counted != comparison.interval:
            percent = f"{100 * share:.0f} %"
            method = f"{comparison.how}, widened since others had the CPU for {percent} of the timed seconds"
            comparison = replace(comparison, interval=counted, how=method, widened=True)
    return replace(
        comparison,
        moved=_moved(new, old, now) if shared and exactness == "timed" else None,
        spoiled=flags.spoiled,
        unknown=_unknown(figure) if comparison.interval is None and exactness != "counted" else None,
    )
