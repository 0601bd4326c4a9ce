"""Measuring more while a verdict is inconclusive: the points that it looks at, up to a limit.

A probe that can go on has ``extend(lanes, subject, config, found, at)``. Whole sets of rounds are added, so
that early looks are few: at most twice, for three times the rounds. What stays open after that is said
to be open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from bench import judge
from bench.feeds import Point
from bench.judge import Prepared
from bench.lanes import Lane
from bench.probes import Subject
from bench.record import Measurement, Report
from compress import catalog, log

TIMES = 3
MINUTES = 10.0


def open_points(gates: Sequence[Prepared], report: Report, probe: str) -> list[Point]:
    """The points of the grid at which a gate on that probe is inconclusive.

    Args:
        gates: in the order of the report's verdicts.
        report: judged by them.
        probe: canonical name.
    """
    points: dict[Point, None] = {}
    for gate, verdict in zip(gates, report.verdicts, strict=True):
        at = getattr(gate.config, "at", None)
        wanted = gate.looks_at()
        if (
            verdict.status == "inconclusive"
            and at is not None
            and wanted
            and catalog.canonical(wanted) == probe
        ):
            points[Point(at.batch_size, at.length)] = None
    return list(points)


def settle(
    lanes: Sequence[Lane],
    subject: Subject,
    probes: Sequence[tuple[str, ModuleType, Any]],
    gates: Sequence[Prepared],
    assemble: Callable[[Sequence[Measurement]], Report],
    measurements: Sequence[Measurement],
    minutes: float = MINUTES,
) -> list[Measurement]:
    """Measure more until no verdict that more rounds could settle is open, or a limit is reached.

    Args:
        lanes: still open.
        subject: rows, rounds and runs.
        probes: name, module and options of those that ran.
        gates: that judge.
        assemble: a report from measurements.
        measurements: so far.
        minutes: that all of the additional measuring may take.

    Returns:
        All measurements, with those of the extended points replaced.
    """
    started = time.perf_counter()
    found = list(measurements)
    for attempt in range(TIMES - 1):
        judged = judge.judge(assemble(found), gates)
        todo = [
            (module, options, points)
            for name, module, options in probes
            if hasattr(module, "extend") and (points := open_points(gates, judged, name))
        ]
        if not todo:
            return found
        spent = (time.perf_counter() - started) / 60
        ahead = spent / attempt if attempt else 0.0  # the next set takes about as long as the last ones
        if minutes <= 0 or spent + ahead > minutes:
            log.info("inconclusive after %.1f minutes of measuring more: the time limit is reached", spent)
            return found
        for module, options, points in todo:
            log.info("inconclusive: measuring again at %s", "; ".join(map(str, points)))
            found = module.extend(lanes, subject, options, found, points)
    return found
