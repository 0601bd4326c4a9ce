"""How both models do on a challenge set: as a whole, test by test, and what the candidate alone fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.answers import answers, shown
from bench.answers.shown import Row
from bench.display import words
from bench.display.parts import Card, Listing, Table, table
from bench.record.finding import Finding, Part
from bench.record.interval import Interval
from bench.statistics import paired

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from bench.answers.challenges import Case, Read
    from compress.tasks import Task

TITLE = "Challenge sets"
RANK = 30


class Passed(Part):
    """How many cases of a test both models pass.

    Attributes:
        name: of the test.
        cases: a row, a pair, or a group of rows that belong together.
        before: share that the original passes.
        after: the candidate.
        difference: after less before.
        interval: Tango's, paired.
        harmful: cases that only the original passes.
        beneficial: that only the candidate passes.
        p_value: McNemar's exact test.
    """

    name: str
    cases: int
    before: float
    after: float
    difference: float
    interval: Interval
    harmful: int
    beneficial: int
    p_value: float


class ChallengeSet(Part):
    """One challenge set.

    Attributes:
        name: of the folder or file.
        layout: how it is made: ``labeled``, ``pairs`` or ``checklist``.
        whole: all cases.
        tests: parts of it, the worst change first.
        worst: failed by the candidate alone.
        notes: cases that were left out, and why.
    """

    name: str
    layout: Literal["labeled", "pairs", "checklist"]
    whole: Passed
    tests: tuple[Passed, ...] = ()
    worst: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()


class Challenge(Finding):
    """Challenge sets of the user."""

    kind: Literal["challenge"] = "challenge"
    sets: tuple[ChallengeSet, ...]


MODEL = Challenge


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


def _worst(read: Read, pair: Pair, lost: Sequence[Case], task: Task, listed: int) -> list[Row]:
    """One row of each case that the candidate alone fails: the one on which the two differ most."""
    distance = answers.known_divergences(pair)
    rank = distance if distance is not None else np.zeros(len(pair.rows))
    picks: dict[int, Case] = {}
    for case in lost:
        differing = [
            i for i in case.rows if pair.before.predictions[i].value != pair.after.predictions[i].value
        ]
        picks.setdefault(max(differing or case.rows, key=lambda i: rank[i]), case)
    order = sorted(picks, key=lambda i: -rank[i])[:listed]
    rows = shown.rows(pair, task, order, ["harmful"] * len(pair.rows), distance)
    failures = []
    for i, row in zip(order, rows, strict=True):
        case = picks[i]
        expected = {
            "labels": row.truth,
            "not": "not " + ", ".join(pair.head.labels[j] for j in case.wanted),
            "same": "the same for every variant",
        }.get(case.rule, f"confidence {case.rule}")
        if case.rule == "labels":
            expected = pair.head.labels[case.wanted[case.rows.index(i)]] if pair.head.labels else expected
        failures.append(row.model_copy(update={"truth": expected}))
    return failures


def find(read: Read, pair: Pair, task: Task, listed: int = 10) -> ChallengeSet:
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
        tests=tuple(sorted(parts, key=lambda part: (part.difference, -part.cases))),
        worst=tuple(_worst(read, pair, lost, task, listed)),
        notes=read.notes,
    )


def sentences(finding: Challenge) -> list[str]:
    """How each set went."""
    return [_sentence(challenge_set) for challenge_set in finding.sets]


def _sentence(challenge_set: ChallengeSet) -> str:
    noun = {"labeled": "rows", "pairs": "pairs (all of a pair right)", "checklist": "cases"}[
        challenge_set.layout
    ]
    total = challenge_set.whole
    text = (
        f"{challenge_set.name}: of {total.cases} {noun} the original passes {words.share(total.before)}, "
        f"the candidate {words.share(total.after)} ({words.change(total.difference)}, 95 % interval "
        f"{words.between(total.interval)}; {total.harmful} lost, {total.beneficial} won)."
    )
    worse = [
        test
        for test in challenge_set.tests
        if test.p_value * len(challenge_set.tests) < words.LEVEL and test.difference < 0
    ]
    if worse:
        listed = ", ".join(f"'{test.name}' ({words.change(test.difference)})" for test in worse[:5])
        text += f" Worse beyond chance (Bonferroni): {listed}."
    return text


def tables(finding: Challenge) -> list[Table]:
    """Every test of every set."""
    header = ["test", "cases", "before", "now", "change", "95 %", "lost", "won", "p"]
    return [
        table(
            f"{challenge_set.name}: every test",
            header,
            [_cells(test) for test in (challenge_set.whole, *challenge_set.tests)],
        )
        for challenge_set in finding.sets
    ]


def _cells(test: Passed) -> list[str]:
    return [
        test.name,
        str(test.cases),
        words.share(test.before),
        words.share(test.after),
        words.change(test.difference),
        words.between(test.interval),
        str(test.harmful),
        str(test.beneficial),
        words.chance(test.p_value),
    ]


def listings(finding: Challenge) -> list[Listing]:
    """Cases that the candidate alone fails."""
    return [
        Listing(f"{challenge_set.name}: failed by the candidate alone", challenge_set.worst)
        for challenge_set in finding.sets
    ]


def cards(finding: Challenge) -> list[Card]:
    """The set that lost most."""
    lost = min(finding.sets, key=lambda challenge_set: challenge_set.whole.difference)
    detail = f"{lost.name}: {words.share(lost.whole.before)} to {words.share(lost.whole.after)}"
    return [Card("Worst challenge set", words.change(lost.whole.difference), "", "", detail)]


def notes(finding: Challenge) -> list[str]:
    """Cases that were left out, and why."""
    return [f"{challenge_set.name}: {note}" for challenge_set in finding.sets for note in challenge_set.notes]


def plots(finding: Challenge) -> list[tuple[str, str]]:
    """What both models pass: the sets, where there are several, and the tests of each, the worst first."""
    # Only the page draws, and the library takes long to import.
    from bench.display.plots import MOST, label, pairs

    drawn = (
        [("Challenge sets", tuple(challenge_set.whole for challenge_set in finding.sets))]
        if len(finding.sets) > 1
        else []
    )
    drawn += [
        (f"{challenge_set.name}, the worst change first", challenge_set.tests)
        for challenge_set in finding.sets
        if challenge_set.tests
    ]
    return [
        (
            title,
            pairs(
                [
                    (label(test.name, test.cases), 100 * test.before, 100 * test.after)
                    for test in tests[:MOST]
                ],
                "passed, %",
                "Challenge tests passed",
            ),
        )
        for title, tests in drawn
    ]
