"""Evaluation rows that a candidate's length limit cuts: counted for each candidate, and said in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.lanes import feeds
from deploy.truncation import Truncation

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from bench.probes import Subject
    from bench.record.model import Report


def count(lanes: Sequence[Lane], subject: Subject) -> dict[str, Truncation]:
    """What each candidate's own limit does to the evaluation rows; empty where rows have no length."""
    original = next(lane for lane in lanes if lane.name == subject.baseline)
    limits, cuts = {}, {}
    for lane in lanes:
        encoder = feeds.own(lane, subject)
        lengths = encoder.longest(subject.rows)
        if lengths is None:
            return {}
        limits[lane.name] = encoder.max_length
        cuts[lane.name] = lengths > (lengths.max() if encoder.max_length is None else encoder.max_length)
    counted = {}
    for lane in lanes:
        limit, base = limits[lane.name], limits[original.name]
        longer = limit is not None and (base is None or base > limit)
        # Two tokenizers count differently: a row that both cut is cut further where fewer tokens are left.
        beyond = cuts[lane.name] & (np.full(len(subject.rows), longer) | ~cuts[original.name])
        counted[lane.name] = Truncation(
            rows=len(subject.rows),
            cut=int(cuts[lane.name].sum()),
            limit=limit,
            unit=subject.task.UNIT,
            whose=feeds.own(lane, subject).whose,
            beyond_baseline=0 if lane is original else int(beyond.sum()),
        )
    return counted


def sentences(report: Report) -> list[str]:
    """A sentence for each candidate whose limit cut some rows."""
    lines = []
    for candidate in report.candidates:
        cut = candidate.truncation
        if cut is None or not cut.cut:
            continue
        more = (
            f"; '{report.baseline}' sees more of {cut.beyond_baseline} of them" if cut.beyond_baseline else ""
        )
        lines.append(f"{candidate.name}: {cut.sentence('evaluation rows')}{more}")
    return lines
