"""Measuring more while a verdict is inconclusive: the points that it looks at, up to a limit.

A probe that can go on has ``extend(lanes, subject, config, found, at)``. Whole sets of rounds are added, so
that early looks are few: at most twice, for three times the rounds. What stays open after that is said
to be open.

Looking three times is not free. Each look judges by a 95 % interval, and where the truth lies on the line,
the chance that one of the three looks errs is 5.4 % on the side that counts in place of 2.5 % (10.7 % in
place of 5 % for both sides: Armitage, McPherson and Rowe 1969). That holds for a pass of what is exactly at
the limit, and bounds a fail of what is unchanged, which must also be beyond the limit. The intervals are not
widened for it: ``studies.false_alarms`` counts wrong verdicts with the looks in them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.lanes.feeds import Point
from bench.lanes.lane import Lane
from bench.probes import Probe, Subject, can_extend
from bench.record.model import Measurement, Report
from bench.verdicts import judge
from bench.verdicts.judge import Prepared
from compress import catalog, log

TIMES = 3
MINUTES = 10.0


def open_points(gates: Sequence[Prepared], report: Report, probe: str) -> list[Point]:
    """The points of the grid at which a gate on that probe is inconclusive.

    Args:
        gates: in the order of the report's first verdicts.
        report: judged by them.
        probe: canonical name.
    """
    points: dict[Point, None] = {}
    unit = catalog.task(report.task).UNIT
    for gate, verdict in zip(gates, report.verdicts, strict=False):
        at = getattr(gate.config, "at", None)
        gate_probe = gate.looks_at()
        if (
            verdict.status == "inconclusive"
            and verdict.value is not None  # without a figure it waits for something else than rounds
            and at is not None
            and gate_probe
            and catalog.canonical(gate_probe) == probe
        ):
            points[Point(at.batch_size, at.length, unit)] = None
    return list(points)


def measured_points(measurements: Sequence[Measurement], probe: str) -> int:
    """At how many points of the grid a probe measured; at least 1.

    Args:
        measurements: all of a report.
        probe: canonical name.
    """
    points = {
        (measurement.conditions.get("batch_size"), measurement.conditions.get("length"))
        for measurement in measurements
        if measurement.probe == probe
    }
    return max(1, len(points))


def settle(
    lanes: Sequence[Lane],
    subject: Subject,
    probes: Sequence[tuple[str, Probe, Any]],
    gates: Sequence[Prepared],
    assemble: Callable[[Sequence[Measurement]], Report],
    measurements: Sequence[Measurement],
    minutes: float = MINUTES,
    seconds: Mapping[str, float] | None = None,
) -> list[Measurement]:
    """Measure more until no verdict that more rounds could settle is open, or a limit is reached.

    Args:
        lanes: still open.
        subject: rows, rounds and runs.
        probes: name, module and options of those that ran.
        gates: that judge.
        assemble: a report from measurements.
        measurements: so far.
        minutes: that all of the additional measuring may take; a set that would not fit is not begun.
        seconds: probe -> seconds that its first measurement took, of which each point is thought to have
            had the same share; the first set is begun without an estimate where they are not known.

    Returns:
        All measurements, with those of the extended points replaced.
    """
    started = time.perf_counter()
    current = list(measurements)
    for attempt in range(TIMES - 1):
        judged = judge.judge(assemble(current), gates)
        todo = [
            (name, module, options, points)
            for name, module, options in probes
            if can_extend(module) and (points := open_points(gates, judged, name))
        ]
        if not todo:
            return current
        spent = (time.perf_counter() - started) / 60
        # The next set takes about as long as the last ones, the first as long as its points did before.
        first = sum(
            (seconds or {}).get(name, 0.0) * min(1.0, len(points) / measured_points(current, name))
            for name, _, _, points in todo
        )
        first /= 60
        ahead = spent / attempt if attempt else first
        if minutes <= 0 or spent + ahead > minutes:
            log.info(
                "inconclusive after %.1f minutes of measuring more: as many rounds again may take %.1f, and "
                "%g are allowed in all (--budget-minutes)",
                spent,
                ahead,
                minutes,
            )
            return current
        for _, module, options, points in todo:
            log.info("inconclusive: measuring again at %s", "; ".join(map(str, points)))
            current = module.extend(lanes, subject, options, current, points)
    return current
