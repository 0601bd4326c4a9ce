"""Robustness: what small changes of the text do to the candidate beyond what they do to the original."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.answers import answers, equality, perturb, scoring, shown
from bench.answers.perturb import Kind
from bench.answers.shown import Row
from bench.display import words
from bench.display.parts import Listing, Table, table
from bench.record.finding import Finding, Part
from bench.record.interval import Interval
from bench.statistics import resampling, stats
from compress.errors import NothingToMeasure

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from compress.tasks import Task

TITLE = "Changed texts"
RANK = 40
_UNKNOWN = {"truth": None, "truth_before": None, "truth_after": None}
Answer = Callable[[Sequence[dict[str, Any]]], "Pair"]


class Perturbation(Part):
    """What one kind of change of the text does to both models.

    Attributes:
        name: of the change.
        what: it does, in words.
        rows: that it changed.
        keeps_label: whether the label stays what it is; else there is only agreement.
        clean_before: the original's metric on the same rows unchanged.
        clean_after: the candidate's.
        before: the original's metric on the changed rows.
        after: the candidate's.
        extra: what the candidate loses more than the original: its change less the original's; below
            zero is worse.
        interval: of ``extra``, paired.
        agreement: share of changed rows on which both give the same answer.
        reacted_before: share of rows whose answer the change turned, in the original.
        reacted_after: in the candidate.
        worst: rows that the original still has right and the candidate no longer; for a change that
            keeps no label, rows on which they part.
    """

    name: str
    what: str
    rows: int
    keeps_label: bool
    clean_before: float | None = None
    clean_after: float | None = None
    before: float | None = None
    after: float | None = None
    extra: float | None = None
    interval: Interval | None = None
    agreement: float
    reacted_before: float
    reacted_after: float
    worst: tuple[Row, ...] = ()


class Robustness(Finding):
    """Changed texts.

    Attributes:
        metric: that is compared.
        unit: of the metric.
        better: which direction is good.
        rows: of the sample that was changed.
        changes: the worst first.
        notes: what a reader must know.
    """

    kind: Literal["robustness"] = "robustness"
    metric: str
    unit: str
    better: Literal["lower", "higher"]
    rows: int
    changes: tuple[Perturbation, ...]
    notes: tuple[str, ...] = ()


MODEL = Robustness


def readable(task: Task) -> tuple[list[str], bool]:
    """The roles that hold text that may change, and whether they hold words with a tag each.

    A text that answers are parts of stays as it is: its references would be others.

    Raises:
        NothingToMeasure: none does.
    """
    kept = {column.of for column in task.COLUMNS.values()}
    roles = [
        role
        for role, column in task.COLUMNS.items()
        if column.holds in {"text", "tokens"} and role not in kept
    ]
    if not roles:
        raise NothingToMeasure(
            "robustness changes texts, and the rows of this task have none: leave this probe out"
        )
    return roles, any(task.COLUMNS[role].holds == "tokens" for role in roles)


def changed(
    row: Mapping[str, Any], roles: Sequence[str], kind: Kind, source: random.Random
) -> dict[str, Any] | None:
    """The row with its texts changed; None where the change does not apply to it.

    Negation changes the first text alone: with both of a pair negated, nothing might be.
    """
    new = dict(row)
    for role in roles if kind.keeps_label else roles[:1]:
        if role not in row:
            continue
        cell = row[role]
        if isinstance(cell, str):
            new[role] = kind.change(cell, source)
        else:
            new[role] = [kind.change(word, source) for word in cell]
    return new if any(new.get(role) != row.get(role) for role in roles) else None


def _words(row: Mapping[str, Any], roles: Sequence[str], kind: Kind, source: random.Random) -> Any:
    """As ``changed`` for tagged words: typos in one word of ten, not in each."""
    if kind.name != "typos":
        return changed(row, roles, kind, source)
    new = dict(row)
    for role in roles:
        cell = list(row[role])
        long = [i for i, word in enumerate(cell) if kind.change(word, random.Random(0)) != word]
        for i in source.sample(long, max(1, round(len(long) / 10))) if long else ():
            cell[i] = kind.change(cell[i], source)
        new[role] = cell
    return new if any(list(new[role]) != list(row[role]) for role in roles) else None


def find(
    rows: Sequence[dict[str, Any]],
    task: Task,
    answer: Answer,
    count: int,
    seed: int,
    listed: int = 5,
) -> Robustness:
    """The finding.

    Args:
        rows: evaluation rows.
        task: that reads them.
        answer: both models' answers on given rows.
        count: rows to change, at most; a seeded sample where there are more.
        seed: of the sample and of every change.
        listed: rows to list for each change, at most.

    Raises:
        NothingToMeasure: the task's rows have no text.
    """
    roles, tagged = readable(task)
    picks = np.sort(np.random.default_rng([seed, 11]).permutation(len(rows))[:count])
    sample = [rows[i] for i in picks]
    clean = answer(sample)
    judged = clean.references is not None and clean.head.checkable
    score = scoring.score(clean, task) if judged else None
    kinds = [kind for kind in perturb.KINDS if kind.in_words or not tagged]
    notes = []
    if clean.references is None:
        notes.append("the rows have no labels: only agreement is measured")
    elif not judged:
        notes.append("the task scores rows together: only agreement is measured")
    if tagged:
        notes.append("words keep their places, since each has its tag: only typos and casing are tried")
    kept = sorted({column.of for column in task.COLUMNS.values() if column.of})
    if kept:
        notes.append(f"{', '.join(kept)} stays as it is, since answers are parts of it")
    perturbations = []
    for kind in kinds:
        source = random.Random(f"{seed}/{kind.name}")
        change = _words if tagged else changed
        variants = [change(row, roles, kind, source) for row in sample]
        altered = {i: row for i, row in enumerate(variants) if row is not None}
        if not altered:
            notes.append(f"{kind.name}: the change applies to none of the rows")
            continue
        moved = answer(list(altered.values()))
        perturbations.append(
            _compare(clean, moved, list(altered), kind, task, [int(picks[i]) for i in altered], seed, listed)
        )
    better = score.better if score else "higher"
    return Robustness(
        metric=score.name if score else "agreement",
        unit=score.unit if score else "share",
        better=better,
        rows=len(sample),
        changes=tuple(
            sorted(
                perturbations,
                key=lambda perturbation: (not perturbation.keeps_label, _badness(perturbation, better)),
            )
        ),
        notes=tuple(notes),
    )


def _badness(perturbation: Perturbation, better: str) -> float:
    if perturbation.extra is None:
        return perturbation.agreement
    return perturbation.extra if better == "higher" else -perturbation.extra


def _part(pair: Pair, picks: Sequence[int]) -> Any:
    """The same answers on some rows: predictions and references."""
    return (
        [pair.before.predictions[i] for i in picks],
        [pair.after.predictions[i] for i in picks],
        None if pair.references is None else [pair.references[i] for i in picks],
    )


def _compare(
    clean: Pair,
    moved: Pair,
    indices: Sequence[int],
    kind: Kind,
    task: Task,
    numbers: Sequence[int],
    seed: int,
    listed: int,
) -> Perturbation:
    before, after, _ = _part(clean, indices)
    head = clean.head
    tolerance = equality.tolerance(clean.before.predictions, head)
    stays = [
        equality.same(side, now, head, tolerance)
        for side, now in ((before, moved.before.predictions), (after, moved.after.predictions))
    ]
    agree = equality.same(moved.before.predictions, moved.after.predictions, head, tolerance)
    figures: dict[str, Any] = {}
    labeled = kind.keeps_label and clean.references is not None and clean.head.checkable
    if labeled:
        figures = _losses(clean, moved, indices, task, seed)
    kinds = (
        shown.changes(moved, task, tolerance)
        if labeled
        else ["other" if not same else "none" for same in agree]
    )
    distance = answers.known_divergences(moved)
    sought = "harmful" if labeled else "other"
    rank = distance if distance is not None else np.zeros(len(kinds))
    picks = sorted((i for i, change in enumerate(kinds) if change == sought), key=lambda i: -rank[i])[:listed]
    rows = shown.rows(moved, task, picks, kinds, distance, numbers)
    return Perturbation(
        name=kind.name,
        what=kind.what,
        rows=len(indices),
        keeps_label=kind.keeps_label,
        agreement=float(agree.mean()),
        reacted_before=float(1 - stays[0].mean()),
        reacted_after=float(1 - stays[1].mean()),
        worst=tuple(rows if kind.keeps_label else [row.model_copy(update=_UNKNOWN) for row in rows]),
        **figures,
    )


def _losses(clean: Pair, moved: Pair, indices: Sequence[int], task: Task, seed: int) -> dict[str, Any]:
    """The metric of both models on the rows as they are and changed, and what the candidate loses beyond."""
    mask = np.zeros(len(clean.rows), dtype=bool)
    mask[list(indices)] = True
    plain, now = scoring.score(clean, task).only(mask), scoring.score(moved, task)
    weights = stats.resample_weights(len(indices), np.random.default_rng([seed, 12]))
    loss, own_drawn = resampling.difference(plain.after, now.after, now.of, weights)
    base_loss, other_drawn = resampling.difference(plain.before, now.before, now.of, weights)
    interval: Interval | None = stats.interval(own_drawn - other_drawn)
    (clean_before, clean_after), (before, after) = plain.values(), now.values()
    return {
        "clean_before": clean_before,
        "clean_after": clean_after,
        "before": before,
        "after": after,
        "extra": loss - base_loss,
        "interval": interval,
    }


def sentences(finding: Robustness) -> list[str]:
    """What changed texts do."""
    labeled = [change for change in finding.changes if change.extra is not None]
    if not labeled:
        return [
            f"{finding.rows} rows were changed in {len(finding.changes)} ways; both models are "
            "compared on them."
        ]
    worst = labeled[0]
    unit = finding.unit
    if not words.worse(worst.extra or 0.0, finding.better):
        return [
            f"{finding.rows} rows were changed in {len(finding.changes)} ways. None of the {len(labeled)} "
            "that keep the label costs the candidate more than it costs the original."
        ]
    return [
        f"{finding.rows} rows were changed in {len(finding.changes)} ways. The worst is '{worst.name}' "
        f"({worst.what}): the original goes from {words.figure(worst.clean_before, unit)} to "
        f"{words.figure(worst.before, unit)}, the candidate from {words.figure(worst.clean_after, unit)} to "
        f"{words.figure(worst.after, unit)}, which is {words.change(worst.extra, unit)} beyond "
        f"the original's loss (95 % interval {words.between(worst.interval, unit)})."
    ]


def tables(finding: Robustness) -> list[Table]:
    """Every change, and what it does."""

    def moved(clean: float | None, now: float | None, reacted: float) -> str:
        if now is None:
            return f"{words.share(reacted)} of answers turn"
        return f"{words.figure(clean, finding.unit)} to {words.figure(now, finding.unit)}"

    header = ["change", "rows", "original", "candidate", "beyond the original", "95 %", "same answer"]
    rows = [
        [
            change.name,
            str(change.rows),
            moved(change.clean_before, change.before, change.reacted_before),
            moved(change.clean_after, change.after, change.reacted_after),
            words.change(change.extra, finding.unit),
            words.between(change.interval, finding.unit),
            words.share(change.agreement),
        ]
        for change in finding.changes
    ]
    return [table(f"All {len(finding.changes)} changes", header, rows)]


def listings(finding: Robustness) -> list[Listing]:
    """Rows that a change turned in the candidate alone."""
    return [
        Listing(
            f"{change.name}: "
            + (
                "the original has it right and the candidate does not"
                if change.keeps_label
                else "the two models part"
            ),
            change.worst,
        )
        for change in finding.changes
    ]


def notes(finding: Robustness) -> list[str]:
    """What each change does, and what a reader must know."""
    unknown = "; what is right then is not known, so only whether both models react alike is measured"
    explanations = [
        f"{change.name}: {change.what}{'' if change.keeps_label else unknown}" for change in finding.changes
    ]
    return [*explanations, *finding.notes]


def plots(finding: Robustness) -> list[tuple[str, str]]:
    """The loss that each change of the text brings to both models, where there are labels."""
    # Only the page draws, and the library takes long to import.
    from bench.display.plots import label, pairs

    factor = 100 if finding.unit == "share" else 1
    rows = [
        (
            label(change.name),
            factor * (change.before - change.clean_before),
            factor * (change.after - change.clean_after),
        )
        for change in finding.changes
        if None not in (change.before, change.clean_before, change.after, change.clean_after)
        and change.before is not None
        and change.clean_before is not None
        and change.after is not None
        and change.clean_after is not None
    ]
    if not rows:
        return []
    unit = "points" if finding.unit == "share" else finding.unit
    axis = f"change in {finding.metric} on changed texts, {unit}"
    return [("What changed texts cost each model", pairs(rows, axis, "Loss on changed texts"))]
