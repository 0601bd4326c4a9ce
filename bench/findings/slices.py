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


def cuts(
    pair: Pair, lengths: np.ndarray | None, columns: Sequence[str], unit: str = "tokens"
) -> tuple[list[Cut], list[str]]:
    """Every slice of the rows, and what could not be cut.

    Args:
        pair: of answers on labeled rows.
        lengths: tokens of each row; None where rows have none.
        columns: of the user.
        unit: what lengths count.
    """
    parted: list[Cut] = []
    notes: list[str] = []
    head, references = pair.head, pair.references or []
    if head.problem == "regression":
        parted += slicing.quarters("label", np.asarray(references, dtype=np.float64))
    elif head.labels:
        label_sets = [
            {part[0] for part in scoring.parts(scoring.named(true, head), head)} for true in references
        ]
        for label in sorted({label for classes in label_sets for label in classes}):
            parted.append(Cut("label", label, np.array([label in classes for classes in label_sets])))
    numbers = (("length", lengths, f" {unit}"), ("confidence of the original", _confidence(pair), ""))
    for family, values, suffix in numbers:
        if values is None:
            continue
        quarters = slicing.quarters(family, np.asarray(values, dtype=np.float64), suffix)
        parted += quarters
        if not quarters:
            notes.append(f"all rows have the same {family}: there is nothing to cut by")
    for column in columns:
        cut = slicing.by_column(column, slicing.cells(pair.rows, column))
        parted += cut
        if len(cut) < 2:
            notes.append(f"the column '{column}' has the same value in all rows: there is nothing to cut by")
    return parted, notes


def _confidence(pair: Pair) -> np.ndarray | None:
    confidence = answers.confidence(pair.before)
    # Rounded, so that rows of one confidence but for the last bits are not torn apart.
    return None if confidence is None else confidence.round(4)


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


def _small(counted: Sequence[tuple[Cut, int]]) -> list[Small]:
    """Slices with too few rows; of a family that has many of them only how many.

    A column of names or addresses has a value a row: a list of them would be the rows themselves.
    """
    named = []
    for family in dict.fromkeys(cut.family for cut, _ in counted):
        mine = [(cut.name, count) for cut, count in counted if cut.family == family]
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
    parted, notes = cuts(pair, lengths, columns, task.UNIT)
    judged = [(cut, score.only(cut.mask)) for cut in parted if cut.mask.sum() >= min_rows]
    small = _small([(cut, int(cut.mask.sum())) for cut in parted if cut.mask.sum() < min_rows])
    if not judged:
        raise NothingToMeasure(
            f"there are {len(pair.rows)} rows and no slice of them has {min_rows}: give more rows, or lower "
            "min_rows (what so few rows say is little)"
        )
    judged += _classes(pair, score, min_rows)
    levels = (LEVEL, 1 - (1 - LEVEL) / len(judged))
    draws = resampling.draws_for(len(judged))
    compared = [compare(part_score, generator, levels, draws) for _, part_score in judged]
    p_values = [p for _, _, p in compared]
    corrected = zip(multiplicity.holm(p_values), multiplicity.benjamini_hochberg(p_values), strict=True)
    slices = [
        Slice(
            family=cut.family,
            name=cut.name,
            rows=int(cut.mask.sum()),
            before=part_score.values()[0],
            after=part_score.values()[1],
            difference=gap,
            interval=single,
            simultaneous=together,
            p_value=p_value,
            holm=strict,
            bh=loose,
        )
        for (cut, part_score), (gap, (single, together), p_value), (strict, loose) in zip(
            judged, compared, corrected, strict=True
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
        slices=tuple(sorted(slices, key=lambda part: (sign * part.difference, part.p_value, -part.rows))),
        small=tuple(small),
        min_rows=min_rows,
        notes=tuple(notes),
    )


def _classes(pair: Pair, score: Score, min_rows: int) -> list[tuple[Cut, Score]]:
    """F1 of each class over all rows, for classes of which there are enough."""
    head = pair.head
    if not head.labels:
        return []
    true = [scoring.parts(scoring.named(reference, head), head) for reference in pair.references or []]
    sides = [
        [scoring.parts(prediction.label, head) for prediction in side.predictions]
        for side in (pair.before, pair.after)
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


def slice_name(part: Slice) -> str:
    """A slice with its family."""
    return f"{part.family}: {part.name}"


def certain(finding: Slices) -> list[Slice]:
    """Slices that changed for the worse beyond chance, after Holm's correction."""
    return [
        part
        for part in finding.slices
        if part.holm < words.LEVEL and words.worse(part.difference, finding.better)
    ]


def sentences(finding: Slices) -> list[str]:
    """The worst change, and which are worse beyond chance."""
    worst = finding.slices[0]
    sure = certain(finding)
    text = (
        f"{finding.metric} on all rows: {words.figure(finding.before, finding.unit)} before, "
        f"{words.figure(finding.after, finding.unit)} now. Of {len(finding.slices)} slices the worst change "
        f"is {words.change(worst.difference, finding.unit)} in '{slice_name(worst)}' ({worst.rows} rows, "
        f"95 % interval {words.between(worst.interval, finding.unit)}). "
    )
    if sure:
        listed = ", ".join(f"'{slice_name(part)}'" for part in sure[:_NAMED])
        more = f" and {len(sure) - _NAMED} more" if len(sure) > _NAMED else ""
        text += (
            f"Worse beyond chance after correcting for {len(finding.slices)} looks (Holm): {listed}{more}."
        )
        return [text]
    return [
        f"{text}After correcting for {len(finding.slices)} looks (Holm), no slice is worse beyond chance."
    ]


def tables(finding: Slices) -> list[Table]:
    """Every slice."""
    header = ["slice", "rows", "before", "now", "change", "95 %", "p", "p (Holm)", "p (BH)"]
    rows = [
        [
            slice_name(part),
            str(part.rows),
            words.figure(part.before, finding.unit),
            words.figure(part.after, finding.unit),
            words.change(part.difference, finding.unit),
            words.between(part.interval, finding.unit),
            *map(words.chance, (part.p_value, part.holm, part.bh)),
        ]
        for part in finding.slices
    ]
    return [table(f"All {len(finding.slices)} slices", header, rows)]


def brief(finding: Slices) -> Table:
    """The slices without their p-values."""
    (full,) = tables(finding)
    rows = [row[:_BRIEF] for row in full.rows]
    return Table("The worst slices", full.header[:_BRIEF], rows)


def plots(finding: Slices) -> list[tuple[str, str]]:
    """The change in each slice, the worst first, with its interval; the worst and the best where many."""
    # Only the page draws, and the library takes long to import.
    from bench.display import svg
    from bench.display.plots import BEFORE, MOST, WORSE, label

    parts = list(finding.slices)
    if len(parts) > MOST:
        parts = [*parts[: MOST - 3], *parts[-3:]]
    factor = 100 if finding.unit == "share" else 1
    sure = set(map(id, certain(finding)))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for place, part in enumerate(parts):
            shade = WORSE if id(part) in sure else BEFORE
            if part.interval is not None:
                axes.plot(
                    [factor * part.interval.low, factor * part.interval.high],
                    [place, place],
                    color=shade,
                    linewidth=1.5,
                )
            axes.plot(factor * part.difference, place, "o", color=shade, markersize=6)
        axes.axvline(0, color=svg.INK, linewidth=0.8, alpha=0.6)
        axes.set_yticks(range(len(parts)), [label(slice_name(part), part.rows) for part in parts])
        axes.invert_yaxis()
        unit = "points" if finding.unit == "share" else finding.unit
        axes.set_xlabel(f"change in {finding.metric}, {unit}")
        axes.grid(axis="x")
        axes.tick_params(axis="y", labelsize=10.5)

    drawing = svg.render(draw, 1.0 + 0.38 * len(parts), f"Change in {finding.metric} by slice", "slices")
    return [("Change by slice (line: 95 % interval)", drawing)]


def highlight(finding: Slices) -> Highlight:
    """The worst slices."""
    sure = set(map(id, certain(finding)))
    marks = []
    for part in finding.slices:
        figures = [words.figure(value, finding.unit) for value in (part.before, part.after)]
        spread = f"; 95 % interval {words.between(part.interval, finding.unit)}" if part.interval else ""
        verdict = "beyond chance" if id(part) in sure else "may be chance"
        marks.append(
            Mark(
                words.change(part.difference, finding.unit),
                slice_name(part),
                f"{finding.metric} {figures[0]} to {figures[1]} on {part.rows} rows{spread}; {verdict}",
                won=not words.worse(part.difference, finding.better),
            )
        )
    return Highlight("worst-slices", "Worst slices", marks=tuple(marks))


def cards(finding: Slices) -> list[Card]:
    """The slice that lost most."""
    worst = finding.slices[0]
    spread = words.between(worst.simultaneous, finding.unit)
    detail = f"{slice_name(worst)} ({worst.rows} rows); for all slices at once {spread}"
    return [Card("Worst slice", words.change(worst.difference, finding.unit), "", "", detail)]


def steps(finding: Slices) -> dict[str, str]:
    """The slice that lost most; that none did, where none did."""
    worst = finding.slices[0]
    lost = words.worse(worst.difference, finding.better)
    loss = f"{words.change(worst.difference, finding.unit)} ({slice_name(worst)})"
    return {"worst slice": loss if lost else "none lost"}


def notes(finding: Slices) -> list[str]:
    """What a reader must know, and which slices were too small."""
    if not finding.small:
        return list(finding.notes)
    named = slicing.listed(finding.small)
    return [*finding.notes, f"too few rows to judge (fewer than {finding.min_rows}): {named}"]
