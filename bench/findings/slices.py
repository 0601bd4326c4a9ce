"""Slices: where the metric changed, with intervals for each slice and a correction for looking at many."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.findings import answers, scoring, slicing
from bench.findings.flips import needs_labels
from bench.findings.slicing import Cut
from bench.record.findings import Slice, Slices, Small
from bench.statistics import multiplicity, paired, resampling, stats
from compress.data import BESIDE
from compress.errors import DataError, NothingToMeasure

if TYPE_CHECKING:
    from bench.findings.answers import Pair
    from bench.findings.scoring import Score

LEVEL = 0.95
_LISTED = 12


def cells(rows: Sequence[dict[str, Any]], column: str) -> list[Any]:
    """The cells of a column that stands beside the task's own.

    Raises:
        DataError: there is none of that name; the message lists what there is.
    """
    there = {name: None for row in rows for name in row.get(BESIDE, {})}
    if column not in there:
        listed = ", ".join(there) or "none besides the task's own"
        raise DataError(f"the evaluation rows have no column '{column}'; the columns are: {listed}")
    return [row.get(BESIDE, {}).get(column) for row in rows]


def cuts(pair: Pair, lengths: np.ndarray | None, columns: Sequence[str]) -> tuple[list[Cut], list[str]]:
    """Every slice of the rows, and what could not be cut.

    Args:
        pair: of answers on labeled rows.
        lengths: tokens of each row; None where rows have none.
        columns: of the user.
    """
    found: list[Cut] = []
    notes: list[str] = []
    head, references = pair.head, pair.references or []
    if head.problem == "regression":
        found += slicing.quarters("label", np.asarray(references, dtype=np.float64))
    else:
        held = [{part[0] for part in scoring.parts(scoring.named(true, head), head)} for true in references]
        for label in sorted({label for classes in held for label in classes}):
            found.append(Cut("label", label, np.array([label in classes for classes in held])))
    numbers = (("length", lengths, " tokens"), ("confidence of the original", _confidence(pair), ""))
    for family, values, unit in numbers:
        if values is None:
            continue
        quarters = slicing.quarters(family, np.asarray(values, dtype=np.float64), unit)
        found += quarters
        if not quarters:
            notes.append(f"all rows have the same {family}: there is nothing to cut by")
    for column in columns:
        cut = slicing.by_column(column, cells(pair.rows, column))
        found += cut
        if len(cut) < 2:
            notes.append(f"the column '{column}' has the same value in all rows: there is nothing to cut by")
    return found, notes


def _confidence(pair: Pair) -> np.ndarray | None:
    found = answers.confidence(pair.before)
    # Rounded, so that rows of one confidence but for the last bits are not torn apart.
    return None if found is None else found.round(4)


def compare(
    score: Score, generator: np.random.Generator, levels: tuple[float, float], draws: int = resampling.DRAWS
) -> tuple[float, list[stats.Interval | None], float]:
    """Difference, its intervals at two levels, and the p-value of no difference.

    Rows that are right or wrong: Tango's interval and McNemar's exact test. Any other metric: paired
    bootstrap and approximate randomization.

    Args:
        score: of the slice.
        generator: of resamples.
        levels: of the two intervals.
        draws: resamples; a correction for many slices needs many (``resampling.draws_for``).
    """
    before, after = score.values()
    if score.binary:
        b, c = score.discordant()
        intervals: list[stats.Interval | None] = [
            paired.tango(b, c, len(score.before), level) for level in levels
        ]
        return after - before, intervals, paired.mcnemar(b, c)
    parts = [
        resampling.difference(
            score.before, score.after, score.of, stats.resample_weights(len(score.before), generator, size)
        )[1]
        for size in resampling.blocks(draws)
    ]
    drawn = np.concatenate(parts)
    p_value = resampling.randomization(score.before, score.after, score.of, generator, draws)
    return after - before, [stats.interval(drawn, level) for level in levels], p_value


def _small(found: Sequence[tuple[Cut, int]]) -> list[Small]:
    """Slices with too few rows; of a family that has many of them only how many.

    A column of names or addresses has a value a row: a list of them would be the rows themselves.
    """
    named = []
    for family in dict.fromkeys(cut.family for cut, _ in found):
        mine = [(cut.name, count) for cut, count in found if cut.family == family]
        if len(mine) > _LISTED:
            mine = [(f"{len(mine)} values", sum(count for _, count in mine))]
        named += [Small(family=family, name=name, rows=count) for name, count in mine]
    return named


def find(
    pair: Pair,
    task: ModuleType,
    lengths: np.ndarray | None,
    columns: Sequence[str],
    min_rows: int,
    generator: np.random.Generator,
) -> Slices:
    """The finding.

    Args:
        pair: of answers on labeled rows.
        task: that scores them.
        lengths: tokens of each row; None where rows have none.
        columns: of the user, each cut into slices of its own.
        min_rows: that a slice needs to be judged.
        generator: of resamples.

    Raises:
        DataError: no labels, or a column that is not there.
        NothingToMeasure: no slice is large enough.
    """
    needs_labels(pair, "comparing slices")
    score = scoring.score(pair, task)
    parted, notes = cuts(pair, lengths, columns)
    wanted = [(cut, score.only(cut.mask)) for cut in parted if cut.mask.sum() >= min_rows]
    small = _small([(cut, int(cut.mask.sum())) for cut in parted if cut.mask.sum() < min_rows])
    if not wanted:
        raise NothingToMeasure(
            f"there are {len(pair.rows)} rows and no slice of them has {min_rows}: give more rows, or lower "
            "min_rows (what so few rows say is little)"
        )
    wanted += _classes(pair, score, min_rows)
    levels = (LEVEL, 1 - (1 - LEVEL) / len(wanted))
    draws = resampling.draws_for(len(wanted))
    compared = [compare(own, generator, levels, draws) for _, own in wanted]
    p_values = [p for _, _, p in compared]
    corrected = zip(multiplicity.holm(p_values), multiplicity.benjamini_hochberg(p_values), strict=True)
    made = [
        Slice(
            family=cut.family,
            name=cut.name,
            rows=int(cut.mask.sum()),
            before=own.values()[0],
            after=own.values()[1],
            difference=gap,
            interval=single,
            simultaneous=together,
            p_value=p_value,
            holm=strict,
            bh=loose,
        )
        for (cut, own), (gap, (single, together), p_value), (strict, loose) in zip(
            wanted, compared, corrected, strict=True
        )
    ]
    sign = 1 if score.better == "higher" else -1
    before, after = score.values()
    return Slices(
        metric=score.name,
        unit=score.unit,
        better=score.better,
        before=before,
        after=after,
        slices=tuple(sorted(made, key=lambda one: (sign * one.difference, one.p_value, -one.rows))),
        small=tuple(small),
        min_rows=min_rows,
        notes=tuple(notes),
    )


def _classes(pair: Pair, score: Score, min_rows: int) -> list[tuple[Cut, Score]]:
    """F1 of each class over all rows, for classes of which there are enough."""
    head = pair.head
    if head.problem == "regression":
        return []
    true = [scoring.parts(scoring.named(one, head), head) for one in pair.references or []]
    sides = [
        [scoring.parts(one.label, head) for one in side.predictions] for side in (pair.before, pair.after)
    ]
    everything = np.ones(len(true), dtype=bool)
    counts: dict[str, int] = {}
    for parts in true:
        for label in {part[0] for part in parts}:
            counts[label] = counts.get(label, 0) + 1
    return [
        (Cut("class (F1 on all rows)", label, everything), scoring.class_score(pair, label, true, sides))
        for label in sorted(counts)
        if counts[label] >= min_rows
    ]
