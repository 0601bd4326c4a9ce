"""Slices: where the metric changed, with intervals for each slice and a correction for looking at many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.answers import answers, scoring, slicing
from bench.answers.slicing import Cut, Small
from bench.display import words
from bench.display.parts import Card, Highlight, Mark, Table, table
from bench.record.finding import Finding, Part
from bench.record.interval import Interval
from bench.statistics import multiplicity, paired, resampling, stats
from compress.errors import NothingToMeasure

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from bench.answers.scoring import Score
    from compress.tasks import Task

TITLE = "Where it changed"
RANK = 10
LEVEL = 0.95
_LISTED = 12
_NAMED = 4
_BRIEF = 6  # columns that fit beside sentences


class Slice(Part):
    """One slice of the rows, before and after.

    Attributes:
        family: what it was cut by, such as ``label`` or ``length``.
        name: of the slice.
        rows: in it.
        before: the original's metric on them.
        after: the candidate's.
        difference: after less before.
        interval: of the difference, on its own.
        simultaneous: of the difference, wide enough to hold for all slices at once (Bonferroni).
        p_value: of no difference.
        holm: the same, corrected for the number of slices (any false find).
        bh: corrected by Benjamini and Hochberg (share of false finds).
    """

    family: str
    name: str
    rows: int
    before: float
    after: float
    difference: float
    interval: Interval | None = None
    simultaneous: Interval | None = None
    p_value: float
    holm: float
    bh: float


class Slices(Finding):
    """A metric in parts of the data.

    Attributes:
        metric: that is compared.
        unit: of the metric.
        better: which direction is good.
        before: the original's figure on all rows.
        after: the candidate's.
        slices: the worst change first.
        small: slices with fewer rows than ``min_rows``; not tested, not corrected for.
        min_rows: that a slice needs.
        notes: what a reader must know.
    """

    kind: Literal["slices"] = "slices"
    metric: str
    unit: str
    better: Literal["lower", "higher"]
    before: float
    after: float
    slices: tuple[Slice, ...]
    small: tuple[Small, ...]
    min_rows: int
    notes: tuple[str, ...] = ()


MODEL = Slices


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
        cut = slicing.by_column(column, slicing.cells(pair.rows, column))
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
    task: Task,
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
    answers.needs_labels(pair, "comparing slices")
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


def slice_name(one: Slice) -> str:
    """A slice with its family."""
    return f"{one.family}: {one.name}"


def certain(found: Slices) -> list[Slice]:
    """Slices that changed for the worse beyond chance, after Holm's correction."""
    return [
        one for one in found.slices if one.holm < words.LEVEL and words.worse(one.difference, found.better)
    ]


def sentences(found: Slices) -> list[str]:
    """The worst change, and which are worse beyond chance."""
    worst = found.slices[0]
    sure = certain(found)
    said = (
        f"{found.metric} on all rows: {words.figure(found.before, found.unit)} before, "
        f"{words.figure(found.after, found.unit)} now. Of {len(found.slices)} slices the worst change is "
        f"{words.change(worst.difference, found.unit)} in '{slice_name(worst)}' ({worst.rows} rows, "
        f"95 % interval {words.between(worst.interval, found.unit)}). "
    )
    if sure:
        listed = ", ".join(f"'{slice_name(one)}'" for one in sure[:_NAMED])
        more = f" and {len(sure) - _NAMED} more" if len(sure) > _NAMED else ""
        said += f"Worse beyond chance after correcting for {len(found.slices)} looks (Holm): {listed}{more}."
        return [said]
    return [f"{said}After correcting for {len(found.slices)} looks (Holm), no slice is worse beyond chance."]


def tables(found: Slices) -> list[Table]:
    """Every slice."""
    header = ["slice", "rows", "before", "now", "change", "95 %", "p", "p (Holm)", "p (BH)"]
    rows = [
        [
            slice_name(one),
            str(one.rows),
            words.figure(one.before, found.unit),
            words.figure(one.after, found.unit),
            words.change(one.difference, found.unit),
            words.between(one.interval, found.unit),
            *map(words.chance, (one.p_value, one.holm, one.bh)),
        ]
        for one in found.slices
    ]
    return [table(f"All {len(found.slices)} slices", header, rows)]


def brief(found: Slices) -> Table:
    """The slices without their p-values."""
    (whole,) = tables(found)
    rows = [row[:_BRIEF] for row in whole.rows]
    return Table("The worst slices", whole.header[:_BRIEF], rows)


def plots(found: Slices) -> list[tuple[str, str]]:
    """The change in each slice, the worst first, with its interval; the worst and the best where many."""
    # Only the page draws, and the library takes long to import.
    from bench.display import svg
    from bench.display.plots import BEFORE, MOST, WORSE, label

    shown = list(found.slices)
    if len(shown) > MOST:
        shown = [*shown[: MOST - 3], *shown[-3:]]
    factor = 100 if found.unit == "share" else 1
    sure = set(map(id, certain(found)))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, one in enumerate(shown):
            shade = WORSE if id(one) in sure else BEFORE
            if one.interval is not None:
                axes.plot(
                    [factor * one.interval.low, factor * one.interval.high],
                    [place, place],
                    color=shade,
                    linewidth=1.5,
                )
            axes.plot(factor * one.difference, place, "o", color=shade, markersize=6)
        axes.axvline(0, color=svg.INK, linewidth=0.8, alpha=0.6)
        axes.set_yticks(range(len(shown)), [label(slice_name(one), one.rows) for one in shown])
        axes.invert_yaxis()
        unit = "points" if found.unit == "share" else found.unit
        axes.set_xlabel(f"change in {found.metric}, {unit}")
        axes.grid(axis="x")
        axes.tick_params(axis="y", labelsize=10.5)

    drawing = svg.render(draw, 1.0 + 0.38 * len(shown), f"Change in {found.metric} by slice", "slices")
    return [("Change by slice (line: 95 % interval)", drawing)]


def highlight(found: Slices) -> Highlight:
    """The worst slices."""
    sure = set(map(id, certain(found)))
    marks = []
    for one in found.slices:
        figures = [words.figure(value, found.unit) for value in (one.before, one.after)]
        spread = f"; 95 % interval {words.between(one.interval, found.unit)}" if one.interval else ""
        verdict = "beyond chance" if id(one) in sure else "may be chance"
        marks.append(
            Mark(
                words.change(one.difference, found.unit),
                slice_name(one),
                f"{found.metric} {figures[0]} to {figures[1]} on {one.rows} rows{spread}; {verdict}",
                won=not words.worse(one.difference, found.better),
            )
        )
    return Highlight("worst-slices", "Worst slices", marks=tuple(marks))


def cards(found: Slices) -> list[Card]:
    """The slice that lost most."""
    worst = found.slices[0]
    spread = words.between(worst.simultaneous, found.unit)
    detail = f"{slice_name(worst)} ({worst.rows} rows); for all slices at once {spread}"
    return [Card("Worst slice", words.change(worst.difference, found.unit), "", "", detail)]


def steps(found: Slices) -> dict[str, str]:
    """The slice that lost most; that none did, where none did."""
    worst = found.slices[0]
    lost = words.worse(worst.difference, found.better)
    loss = f"{words.change(worst.difference, found.unit)} ({slice_name(worst)})"
    return {"worst slice": loss if lost else "none lost"}


def notes(found: Slices) -> list[str]:
    """What a reader must know, and which slices were too small."""
    if not found.small:
        return list(found.notes)
    named = slicing.listed(found.small)
    return [*found.notes, f"too few rows to judge (fewer than {found.min_rows}): {named}"]
