"""How both models do on a challenge set: as a whole, test by test, and what the candidate alone fails."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from bench.findings import answers, shown
from bench.record.findings import ChallengeSet, Passed, Row
from bench.statistics import paired

if TYPE_CHECKING:
    from bench.findings.answers import Pair
    from bench.findings.challenges import Case, Read


def passed(name: str, before: np.ndarray, after: np.ndarray) -> Passed:
    """The figures of some cases, from whether each model passes each (bool [cases])."""
    b, c = int((before & ~after).sum()), int((after & ~before).sum())
    return Passed(
        name=name,
        cases=len(before),
        before=float(before.mean()),
        after=float(after.mean()),
        difference=float(after.mean() - before.mean()),
        interval=paired.tango(b, c, len(before)),
        harmful=b,
        beneficial=c,
        p_value=paired.mcnemar(b, c),
    )


def _worst(read: Read, pair: Pair, lost: Sequence[Case], task: ModuleType, listed: int) -> list[Row]:
    """One row of each case that the candidate alone fails: the one on which the two differ most."""
    distance = answers.divergences(pair)
    rank = distance if distance is not None else np.zeros(len(pair.rows))
    picks: dict[int, Case] = {}
    for case in lost:
        differing = [
            i for i in case.rows if pair.before.predictions[i].value != pair.after.predictions[i].value
        ]
        picks.setdefault(max(differing or case.rows, key=lambda i: rank[i]), case)
    order = sorted(picks, key=lambda i: -rank[i])[:listed]
    rows = shown.rows(pair, task, order, ["harmful"] * len(pair.rows), distance)
    found = []
    for i, row in zip(order, rows, strict=True):
        case = picks[i]
        wanted = {
            "labels": row.truth,
            "not": "not " + ", ".join(pair.head.labels[j] for j in case.wanted),
            "same": "the same for every variant",
        }.get(case.rule, f"confidence {case.rule}")
        if case.rule == "labels":
            wanted = pair.head.labels[case.wanted[case.rows.index(i)]] if pair.head.labels else wanted
        found.append(row.model_copy(update={"truth": wanted}))
    return found


def find(read: Read, pair: Pair, task: ModuleType, listed: int = 10) -> ChallengeSet:
    """What became of one set.

    Args:
        read: the set.
        pair: both models' answers on its rows.
        task: whose columns are shown.
        listed: cases to list that the candidate alone fails, at most.
    """
    sides = [
        np.array([case.passes(side.predictions) for case in read.cases], dtype=bool)
        for side in (pair.before, pair.after)
    ]
    before, after = sides
    tests = sorted({case.test for case in read.cases})
    parts = []
    if len(tests) > 1:
        names = np.array([case.test for case in read.cases], dtype=object)
        parts = [passed(test, before[names == test], after[names == test]) for test in tests]
    lost = [case for case, gone in zip(read.cases, before & ~after, strict=True) if gone]
    return ChallengeSet(
        name=read.name,
        layout=read.layout,
        whole=passed(read.name, before, after),
        tests=tuple(sorted(parts, key=lambda one: (one.difference, -one.cases))),
        worst=tuple(_worst(read, pair, lost, task, listed)),
        notes=read.notes,
    )
