"""Flips: which answers changed, whether that harmed, and the rows themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.answers import answers, equality, scoring, shown
from bench.answers.shown import Change, Row
from bench.display import words
from bench.display.parts import Card, Highlight, Listing
from bench.record.finding import Finding, Part
from bench.record.interval import Interval
from bench.statistics import paired, resampling, stats

if TYPE_CHECKING:
    from bench.answers.answers import Pair
    from compress.tasks import Task

TITLE = "Answers that changed"
RANK = 20
_MATRIX_LABELS = 12
_DIVERGENT = 20
_ORDER: dict[Change, int] = {"harmful": 0, "other": 1, "beneficial": 2, "none": 3}


class Parts(Part):
    """Flips of the parts of an answer, such as entities, where a row has several.

    Attributes:
        name: of a part, in the plural.
        total: parts that are true or that a model named.
        harmful: that the original had right and the candidate has wrong.
        beneficial: the other way round.
    """

    name: str
    total: int
    harmful: int
    beneficial: int


class Matrix(Part):
    """How often each answer of the original became each answer of the candidate.

    Attributes:
        labels: rows and columns alike.
        counts: [original][candidate].
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    def problems(self) -> Iterator[str]:
        """A table that is not square."""
        if any(len(row) != len(self.labels) for row in (self.counts, *self.counts)):
            yield f"a matrix of {len(self.labels)} labels that is not square"


class Flips(Finding):
    """Answers that changed.

    Attributes:
        rows: compared.
        harmful: right before, wrong after; for numbers: the error grew by more than ``tolerance``.
        beneficial: wrong before, right after.
        other: changed, and wrong both times.
        p_value: McNemar's exact test of harmful against beneficial.
        harmful_interval: Wilson's interval of the harmful share.
        tolerance: for numbers: the change that does not count.
        error_before: for numbers: mean absolute error of the original.
        error_after: of the candidate.
        error_interval: of the difference, paired.
        parts: of the answers, where a row has several.
        matrix: None where there are too many labels, or none.
        worst: harmful flips first, then other changes, then beneficial, each by divergence.
        divergent: the rows on which the two models differ most, flipped or not.
        left_out: flipped rows that are counted and not listed.
        attribution: how the words were weighed; None where they were not, with the reason in ``notes``.
        notes: what a reader must know.
    """

    kind: Literal["flips"] = "flips"
    rows: int
    harmful: int
    beneficial: int
    other: int
    p_value: float
    harmful_interval: Interval
    tolerance: float | None = None
    error_before: float | None = None
    error_after: float | None = None
    error_interval: Interval | None = None
    parts: Parts | None = None
    matrix: Matrix | None = None
    worst: tuple[Row, ...]
    divergent: tuple[Row, ...] = ()
    left_out: int = 0
    attribution: str | None = None
    notes: tuple[str, ...] = ()


MODEL = Flips


def matrix(pair: Pair) -> Matrix | None:
    """Answers of the original against those of the candidate; None where a row has no single label."""
    labels = pair.head.labels
    values = [
        (old.value, new.value)
        for old, new in zip(pair.before.predictions, pair.after.predictions, strict=True)
    ]
    if pair.head.answer != "label" or not 2 <= len(labels) <= _MATRIX_LABELS:
        return None
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for old, new in values:
        if not isinstance(old, int) or not isinstance(new, int):
            return None
        counts[old, new] += 1
    return Matrix(labels=labels, counts=tuple(tuple(map(int, line)) for line in counts))


def flipped_parts(pair: Pair) -> Parts | None:
    """Flips entity by entity (or label by label) where an answer has several parts; else None."""
    head = pair.head
    tags = head.answer == "tags"
    if not (tags or head.answer == "labels"):
        return None
    total = harmful = beneficial = 0
    references = pair.references or []
    for old, new, true in zip(pair.before.predictions, pair.after.predictions, references, strict=True):
        actual = scoring.parts(scoring.named(true, head), head)
        first, second = scoring.parts(old.label, head), scoring.parts(new.label, head)
        total += len(actual | first | second)
        # A part is right where saying it, or not saying it, is what the truth does.
        harmful += len((second ^ actual) - (first ^ actual))
        beneficial += len((first ^ actual) - (second ^ actual))
    chunks = any(label[:2] in {"B-", "S-"} for label in head.labels)
    name = ("entities" if chunks else "words") if tags else "labels"
    return Parts(name=name, total=total, harmful=harmful, beneficial=beneficial)


def find(pair: Pair, task: Task, listed: int, within: float, generator: np.random.Generator) -> Flips:
    """The finding, without attributions.

    Args:
        pair: of answers on labeled rows.
        task: whose columns are shown.
        listed: how many flipped rows to list at most.
        within: for numbers: the change of the error that does not count, as a share of the range of the
            original's answers.
        generator: of resamples.

    Raises:
        DataError: the rows have no labels.
    """
    answers.needs_labels(pair, "finding flips")
    number = pair.head.problem == "regression"
    tolerance = equality.tolerance(pair.before.predictions, pair.head, within)
    kinds = shown.changes(pair, task, tolerance)
    distance = answers.known_divergences(pair)
    rank = distance if distance is not None else np.zeros(len(kinds))
    flipped = sorted(
        (i for i, kind in enumerate(kinds) if kind != "none"), key=lambda i: (_ORDER[kinds[i]], -rank[i], i)
    )
    harmful, beneficial = kinds.count("harmful"), kinds.count("beneficial")
    finding = Flips(
        rows=len(kinds),
        harmful=harmful,
        beneficial=beneficial,
        other=kinds.count("other"),
        p_value=paired.mcnemar(harmful, beneficial),
        harmful_interval=stats.wilson(harmful, len(kinds)),
        tolerance=tolerance if number else None,
        parts=flipped_parts(pair),
        matrix=matrix(pair),
        worst=tuple(shown.rows(pair, task, flipped[:listed], kinds, distance)),
        divergent=_divergent(pair, task, kinds, distance, min(listed, _DIVERGENT)),
        left_out=max(0, len(flipped) - listed),
        notes=() if len(kinds) >= 30 else (f"only {len(kinds)} rows: no share of them is a sure one",),
    )
    return finding.model_copy(update=_errors(pair, task, generator)) if number else finding


def _errors(pair: Pair, task: Task, generator: np.random.Generator) -> dict[str, object]:
    score = scoring.score(pair, task)
    weights = stats.resample_weights(len(score.before), generator)
    _, drawn = resampling.difference(score.before, score.after, score.of, weights)
    before, after = score.values()
    return {"error_before": before, "error_after": after, "error_interval": stats.interval(drawn)}


def _divergent(
    pair: Pair, task: Task, kinds: list[Change], distance: np.ndarray | None, most: int
) -> tuple[Row, ...]:
    if distance is None:
        return ()
    order = np.argsort(-distance, kind="stable")[:most]
    return tuple(shown.rows(pair, task, [int(i) for i in order if distance[i] > 0], kinds, distance))


def sentences(finding: Flips) -> list[str]:
    """What flipped, and whether more was lost than chance explains."""
    changed = finding.harmful + finding.beneficial + finding.other
    sure = "more than chance explains" if finding.p_value < words.LEVEL else "no more than chance explains"
    if finding.tolerance is not None:
        return [
            f"{finding.harmful} of {finding.rows} numbers are further from the truth than before and "
            f"{finding.beneficial} are nearer (by more than {finding.tolerance:.3g}); that balance is {sure} "
            f"(exact p {words.chance(finding.p_value)}). Mean absolute error: {finding.error_before:.4g} "
            f"before, {finding.error_after:.4g} now "
            f"(difference {words.between(finding.error_interval, 'error')})."
        ]
    low, high = words.share(finding.harmful_interval.low), words.share(finding.harmful_interval.high)
    text = (
        f"{changed} of {finding.rows} answers changed. {finding.harmful} were right and are wrong now "
        f"({words.share(finding.harmful / finding.rows)}, 95 % interval {low} to {high}), "
        f"{finding.beneficial} were wrong and are right now"
        + (f", {finding.other} are wrong in another way" if finding.other else "")
        + "."
    )
    if changed:
        text += f" That balance is {sure} (McNemar's exact p {words.chance(finding.p_value)})."
    if finding.parts is not None:
        parts = finding.parts
        text += (
            f" Of {parts.total} {parts.name}, {parts.harmful} went wrong and {parts.beneficial} were mended."
        )
    return [text]


def headline(finding: Flips) -> str:
    """What was lost and won, and whether chance explains it."""
    lost = f"{finding.harmful} of {finding.rows} answers went from right to wrong"
    if finding.tolerance is not None:
        lost = f"{finding.harmful} of {finding.rows} numbers moved away from the truth"
    net = "no net loss"
    if finding.harmful > finding.beneficial:
        net = "more lost than chance explains"
        if finding.p_value >= words.LEVEL:
            net = f"no {net}"
    return f"{lost}, {finding.beneficial} the other way ({net})"


def listings(finding: Flips) -> list[Listing]:
    """The changed answers, and where the two models differ most."""
    more = f", {finding.left_out} more not listed" if finding.left_out else ""
    return [
        Listing(
            f"{len(finding.worst)} changed answers, harmful first{more}",
            finding.worst,
            finding.attribution or "",
        ),
        Listing(
            f"{len(finding.divergent)} rows on which the two models differ most, flipped or not",
            finding.divergent,
        ),
    ]


def highlight(finding: Flips) -> Highlight:
    """The first changed answers."""
    return Highlight("worst-rows", "Changed answers, worst first", rows=finding.worst)


def cards(finding: Flips) -> list[Card]:
    """How many went wrong."""
    title = "Right before, wrong now" if finding.tolerance is None else "Further from the truth"
    detail = f"of {finding.rows} rows; {finding.beneficial} the other way; p {words.chance(finding.p_value)}"
    return [Card(title, str(finding.harmful), "", "", detail)]


def steps(finding: Flips) -> dict[str, str]:
    """Lost and won."""
    return {"lost": str(finding.harmful), "won": str(finding.beneficial)}


def notes(finding: Flips) -> list[str]:
    """What a reader must know."""
    return list(finding.notes)


def plots(finding: Flips) -> list[tuple[str, str]]:
    """Answers of the original against answers of the candidate, where there is a table of them."""
    if finding.matrix is None:
        return []
    # Only the page draws, and the library takes long to import.
    from bench.display import svg
    from bench.display.plots import BEFORE, WORSE

    table, labels = np.array(finding.matrix.counts), finding.matrix.labels

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        moved = table.astype(float)
        np.fill_diagonal(moved, 0)
        axes.set_xticks(range(len(labels)), labels, rotation=30 if len(labels) > 4 else 0)
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        top = max(1.0, moved.max())
        for row in range(len(labels)):
            for column in range(len(labels)):
                alpha = 0.12 if row == column else 0.55 * moved[row, column] / top
                axes.add_patch(_square(column, row, BEFORE if row == column else WORSE, alpha))
                axes.text(column, row, str(table[row, column]), ha="center", va="center")
        axes.set_xlabel("candidate says")
        axes.set_ylabel("original says")
        axes.set_aspect("equal")

    title = "Answers before and now"
    return [(title, svg.render(draw, 1.4 + min(3.6, 0.75 * len(labels)), title, "matrix"))]


def _square(x: float, y: float, shade: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, color=shade, alpha=alpha, linewidth=0)
