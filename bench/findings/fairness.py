"""Gaps between groups of people: metric, equalized odds, and sentences that differ in the group alone.

Equalized odds (Hardt, Price and Srebro 2016): the rates of hits and of false alarms should not depend on
the group; the gap is the largest difference of such a rate between two groups, over all classes. Swaps
(Dixon et al. 2018; CheckList): the same sentence with another group's name in it should get the same
answer; the gap is how far its probability ranges over the groups, on average over sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.answers import answers, challenges, scoring, slicing
from bench.answers.slicing import Small
from bench.display import words
from bench.display.parts import Table, table
from bench.record.finding import Finding, Part
from bench.record.interval import Interval
from bench.statistics import resampling, stats
from compress.data.files import read_file
from compress.errors import DataError
from compress.reading import files as reading

if TYPE_CHECKING:
    from bench.answers.answers import Answers, Pair
    from compress.tasks import Task

TITLE = "Groups"
RANK = 60
_CELL = 10
_COLUMNS = ("identity", "group", "target")
_TWO = ("sent_more", "sent_less")
_ARTICLE = re.compile(r"\ban\b", re.IGNORECASE)


class Group(Part):
    """One group before and after.

    Attributes:
        name: of the group.
        rows: of it.
        before: the original's figure: the metric, the rate, or for ``score`` how far the probability of
            ``Gap.answer`` lies from the mean of the same sentence over all groups.
        after: the candidate's.
    """

    name: str
    rows: int
    before: float
    after: float


class Gap(Part):
    """How far groups lie apart.

    Attributes:
        of: ``metric``, ``equalized odds`` (largest gap of any class's hit and false alarm rate) or
            ``score`` (mean probability, same sentence, other group).
        source: the column or the set that names the groups.
        answer: for ``score``: the class whose probability is compared; else the metric, or the rate.
        unit: of the figures.
        before: largest less smallest, original.
        after: candidate.
        difference: after less before.
        interval: of the difference, paired.
        groups: the figures of each.
        swapped: for ``score``: sentences that exist for several groups.
        turned_before: share of those whose answer depends on the group, original.
        turned_after: candidate.
    """

    of: Literal["metric", "equalized odds", "score"]
    source: str
    answer: str | None = None
    unit: str = "share"
    before: float
    after: float
    difference: float
    interval: Interval | None
    groups: tuple[Group, ...]
    swapped: int | None = None
    turned_before: float | None = None
    turned_after: float | None = None


class Fairness(Finding):
    """Gaps between groups.

    Attributes:
        gaps: each way to look.
        small: groups with too few rows to be judged.
        notes: what a reader must know.
    """

    kind: Literal["fairness"] = "fairness"
    gaps: tuple[Gap, ...]
    small: tuple[Small, ...] = ()
    notes: tuple[str, ...] = ()


MODEL = Fairness


def _ranges(tables: np.ndarray) -> np.ndarray:
    """Largest less smallest over the last axis."""
    return np.asarray(tables.max(axis=-1) - tables.min(axis=-1))


def by_column(
    pair: Pair, task: Task, column: str, min_rows: int, generator: np.random.Generator
) -> tuple[list[Gap], list[Small]]:
    """Gaps of the metric, and of equalized odds where a row has one label, between a column's groups.

    Raises:
        DataError: no labels, no such column, or fewer than two groups that are large enough.
    """
    answers.needs_labels(pair, "comparing groups")
    cuts = slicing.by_value(column, slicing.cells(pair.rows, column))
    large = [cut for cut in cuts if cut.mask.sum() >= min_rows and cut.name != slicing.EMPTY]
    small = [
        Small(family=column, name=cut.name, rows=int(cut.mask.sum()))
        for cut in cuts
        if cut.mask.sum() < min_rows
    ]
    if len(large) < 2:
        listed = ", ".join(f"{cut.name} ({cut.mask.sum()})" for cut in cuts[:12])
        raise DataError(
            f"groups: the column '{column}' has {len(large)} groups of at least {min_rows} rows, and a gap "
            f"needs two; it has: {listed}"
        )
    weights = stats.resample_weights(len(pair.rows), generator).astype(np.float64)
    gaps = [_metric_gap(pair, task, column, large, weights)]
    odds = _odds_gap(pair, column, large, weights)
    return gaps + ([odds] if odds else []), small


def _metric_gap(pair: Pair, task: Task, column: str, cuts: Sequence[slicing.Cut], weights: np.ndarray) -> Gap:
    score = scoring.score(pair, task)

    def figures(statistics: np.ndarray, draws: np.ndarray) -> np.ndarray:
        totals = [(draws[:, cut.mask] @ statistics[cut.mask]) for cut in cuts]
        return np.array([[score.of(line) for line in total] for total in totals]).T

    everything = np.ones((1, len(pair.rows)))
    sides = (score.before, score.after)
    plain = [figures(side, everything)[0] for side in sides]
    drawn = [_ranges(figures(side, weights)) for side in sides]
    before, after = (float(_ranges(group_figures)) for group_figures in plain)
    return Gap(
        of="metric",
        source=column,
        answer=score.name,
        unit=score.unit,
        before=before,
        after=after,
        difference=after - before,
        interval=resampling.centered(after - before, drawn[1] - drawn[0]),
        groups=tuple(
            Group(name=cut.name, rows=int(cut.mask.sum()), before=float(old), after=float(new))
            for cut, old, new in zip(cuts, *plain, strict=True)
        ),
    )


def _odds_gap(pair: Pair, column: str, cuts: Sequence[slicing.Cut], weights: np.ndarray) -> Gap | None:
    """The equalized-odds gap; None where a row has no single label, or no rate has enough rows."""
    if pair.head.answer != "label":
        return None
    true = np.array(pair.references)
    predicted = [
        np.array([prediction.value for prediction in side.predictions]) for side in (pair.before, pair.after)
    ]
    cells = []
    for label in range(len(pair.head.labels)):
        for kind in (true == label, true != label):
            masks = [cut.mask & kind for cut in cuts]
            if all(mask.sum() >= _CELL for mask in masks):
                cells.append((label, masks))
    if not cells:
        return None

    def rates(side: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """[resamples, cells, groups]."""
        table = [
            [
                (drawn[:, mask] @ (side[mask] == label)) / np.maximum(drawn[:, mask].sum(axis=1), 1e-9)
                for mask in masks
            ]
            for label, masks in cells
        ]
        return np.moveaxis(np.array(table), -1, 0)

    everything = np.ones((1, len(true)))
    plain = [rates(side, everything)[0] for side in predicted]
    gaps = [_ranges(cell_rates) for cell_rates in plain]
    drawn = [_ranges(rates(side, weights)).max(axis=1) for side in predicted]
    worst = int(gaps[1].argmax())
    before, after = float(gaps[0].max()), float(gaps[1].max())
    named = pair.head.labels[cells[worst][0]]
    hit = bool((true[cells[worst][1][0]] == cells[worst][0]).all())
    return Gap(
        of="equalized odds",
        source=column,
        answer=f"{'hits' if hit else 'false alarms'} of {named}",
        before=before,
        after=after,
        difference=after - before,
        interval=resampling.centered(after - before, drawn[1] - drawn[0]),
        groups=tuple(
            Group(name=cut.name, rows=int(mask.sum()), before=float(old), after=float(new))
            for cut, mask, old, new in zip(
                cuts, cells[worst][1], plain[0][worst], plain[1][worst], strict=True
            )
        ),
    )


@dataclass(frozen=True)
class Swaps:
    """Sentences that exist for several groups.

    Attributes:
        name: of the set.
        rows: without labels.
        frames: sentence of each row, int64 [rows].
        groups: group of each row.
    """

    name: str
    rows: list[dict[str, Any]]
    frames: np.ndarray
    groups: list[str]


def frame(text: str, term: str) -> str:
    """A sentence with a group's term taken out, so that the same sentence for another group is equal."""
    bare = re.sub(rf"(?<!\w){re.escape(term)}(?!\w)", "\0", text, flags=re.IGNORECASE)
    return _ARTICLE.sub("a", bare).casefold()


def read_swaps(place: str, task: Task, column: str | None, most: int, seed: int) -> Swaps:
    """A template set: texts with a column that names the group's term, or pairs as CrowS-Pairs has them.

    Args:
        place: folder or file.
        task: whose first text the sentences are.
        column: that names the term; found by its usual names when None.
        most: sentences to take at most.
        seed: of the choice.

    Raises:
        DataError: it is no such set; the message names it.
    """
    role = next((role for role, declaration in task.COLUMNS.items() if declaration.holds == "text"), None)
    if role is None:
        raise DataError("templates swap words of a text, and the rows of this task have none")
    needed = [name for name, declaration in task.COLUMNS.items() if declaration.required]
    if len(needed) > 1:
        raise DataError(f"templates are single texts, and rows of this task are of {' and '.join(needed)}")
    path = reading.located(place, error=DataError)
    if not reading.exists(path, error=DataError):
        raise DataError(f"templates {place}: there is no such folder or file")
    table = read_file(challenges.only(challenges.files(path)))
    triples: list[tuple[str, str, str]] = []
    if set(_TWO) <= set(table.columns):
        triples = [(str(i), name, str(row[name])) for i, row in enumerate(table.rows) for name in _TWO]
    else:
        names = [column] if column else [name for name in _COLUMNS if name in table.columns]
        texts = [name for name in (role, *task.COLUMNS[role].aliases) if name in table.columns]
        if not names or names[0] not in table.columns or not texts:
            raise DataError(
                f"templates {place}: needs a text column and one with the group's term (identity), or "
                f"sent_more and sent_less; the columns are: {', '.join(table.columns)}"
            )
        triples = [
            (frame(str(row[texts[0]]), str(row[names[0]])), str(row[names[0]]), str(row[texts[0]]))
            for row in table.rows
            if row.get(names[0])
        ]
    return _framed(path.name, triples, role, most, seed, place)


def _framed(
    name: str, triples: Sequence[tuple[str, str, str]], role: str, most: int, seed: int, place: str
) -> Swaps:
    members: dict[str, dict[str, str]] = {}
    for key, group, text in triples:
        members.setdefault(key, {}).setdefault(group, text)
    several = [groups for groups in members.values() if len(groups) > 1]
    if not several:
        raise DataError(
            f"templates {place}: no sentence occurs for two groups, so there is nothing to compare"
        )
    order = np.random.default_rng([seed, 14]).permutation(len(several))
    chosen: list[dict[str, str]] = []
    count = 0
    for i in order:
        if count + len(several[i]) > most and chosen:
            break
        chosen.append(several[i])
        count += len(several[i])
    frames = np.repeat(np.arange(len(chosen)), [len(groups) for groups in chosen])
    return Swaps(
        name=name,
        rows=[{role: text} for groups in chosen for text in groups.values()],
        frames=frames,
        groups=[group for groups in chosen for group in groups],
    )


def _spreads(answers: Answers, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Range of each probability in a sentence, [frames, classes]; turned, [frames]; p, [rows, classes]."""
    p = np.array([prediction.probabilities for prediction in answers.predictions], dtype=np.float64)
    values = np.array([prediction.value for prediction in answers.predictions])
    count = int(frames.max()) + 1
    high, low = np.full((count, p.shape[1]), -np.inf), np.full((count, p.shape[1]), np.inf)
    np.maximum.at(high, frames, p)
    np.minimum.at(low, frames, p)
    first = np.zeros(count, dtype=values.dtype)
    first[frames[::-1]] = values[::-1]
    turned = np.zeros(count, dtype=bool)
    np.logical_or.at(turned, frames, values != first[frames])
    return high - low, turned, p


def _deviations(p: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Each probability less the mean of its sentence: groups do not all occur in the same sentences."""
    means = np.bincount(frames, weights=p) / np.bincount(frames)
    return np.asarray(p - means[frames])


def by_swaps(
    swaps: Swaps, answer: Callable[[Sequence[dict[str, Any]]], Pair], generator: np.random.Generator
) -> Gap:
    """The gap over sentences that differ in the group alone.

    Raises:
        DataError: the models give no probabilities of one label a row.
    """
    pair = answer(swaps.rows)
    if pair.before.predictions[0].probabilities is None:
        raise DataError("templates compare probabilities of one label a row, and these models give none")
    old, old_turned, old_p = _spreads(pair.before, swaps.frames)
    new, new_turned, new_p = _spreads(pair.after, swaps.frames)
    at = int(old.mean(axis=0).argmax())
    if len(pair.head.labels) == 2:
        at = 1  # both ranges are the same: the second label is the one that texts are usually scored by
    weights = stats.resample_weights(len(old), generator).astype(np.float64)
    drawn = weights @ (new[:, at] - old[:, at]) / len(old)
    names = np.array(swaps.groups, dtype=object)
    new_deviations, old_deviations = (_deviations(p[:, at], swaps.frames) for p in (new_p, old_p))
    groups = [
        Group(
            name=str(name),
            rows=int((names == name).sum()),
            before=float(old_deviations[names == name].mean()),
            after=float(new_deviations[names == name].mean()),
        )
        for name in sorted(set(swaps.groups))
    ]
    before, after = float(old[:, at].mean()), float(new[:, at].mean())
    return Gap(
        of="score",
        source=swaps.name,
        answer=pair.head.labels[at],
        before=before,
        after=after,
        difference=after - before,
        interval=stats.interval(drawn),
        groups=tuple(sorted(groups, key=lambda group: group.after)),
        swapped=len(old),
        turned_before=float(old_turned.mean()),
        turned_after=float(new_turned.mean()),
    )


def sentences(finding: Fairness) -> list[str]:
    """How each gap went."""
    return [_sentence(gap) for gap in finding.gaps]


def _sentence(gap: Gap) -> str:
    moved, spread = words.change(gap.difference, gap.unit), words.between(gap.interval, gap.unit)
    interval = f" (change {moved}, 95 % interval {spread})"
    if gap.of == "score":
        return (
            f"{gap.source}: in {gap.swapped} sentences that differ in the group alone, the probability of "
            f"'{gap.answer}' ranges over {words.share(gap.before)} before and "
            f"{words.share(gap.after)} now{interval}; the answer "
            f"itself depends on the group in {words.share(gap.turned_before)} before, "
            f"{words.share(gap.turned_after)} now."
        )
    metric = f"equalized odds ({gap.answer})" if gap.of == "equalized odds" else gap.answer
    return (
        f"{gap.source}: {metric} differs between groups by up to {words.figure(gap.before, gap.unit)} before "
        f"and {words.figure(gap.after, gap.unit)} now{interval}."
    )


def tables(finding: Fairness) -> list[Table]:
    """The groups of each gap."""
    group_tables = []
    for gap in finding.gaps:
        show = words.change if gap.of == "score" else words.figure
        rows = [
            [group.name, str(group.rows), show(group.before, gap.unit), show(group.after, gap.unit)]
            for group in gap.groups
        ]
        title = f"{gap.source}: {gap.of} of {len(gap.groups)} groups"
        group_tables.append(table(title, ["group", "rows", "before", "now"], rows))
    return group_tables


def notes(finding: Fairness) -> list[str]:
    """What a reader must know, and which groups were too small."""
    if not finding.small:
        return list(finding.notes)
    named = slicing.listed(finding.small, family=False)
    return [*finding.notes, f"groups with too few rows to judge: {named}"]


def plots(finding: Fairness) -> list[tuple[str, str]]:
    """Each group's figure before and now; the outermost groups where there are many."""
    # Only the page draws, and the library takes long to import.
    from bench.display.plots import MOST, label, pairs

    drawn = []
    for gap in finding.gaps:
        groups = list(gap.groups)
        if len(groups) > MOST:
            groups = [*groups[: MOST // 2], *groups[-MOST // 2 :]]
        factor, unit = (100, "%") if gap.unit == "share" else (1, gap.unit)
        rows = [(label(group.name), factor * group.before, factor * group.after) for group in groups]
        axis = f"{gap.answer}, {unit}"
        if gap.of == "score":
            axis = f"'{gap.answer}' against the mean of the same sentence, points"
        drawn.append((f"{gap.source}: {gap.of}", pairs(rows, axis, f"Groups of {gap.source}")))
    return drawn
