"""Calibration before and after, as the models are and at temperatures fitted on the selection rows.

The figures are sums over rows: expected calibration error, Brier score, negative log likelihood. The
calibration error takes bins of equal mass over confidence: ``sum_b |sum_{i in b} (confidence_i -
right_i)| / n`` (Nguyen and O'Connor 2015 for the bins; Guo et al. 2017, eq. 3, for the sum). In
resamples the bins stay where the full sample put them, so that every resample is one weighted sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from bench.answers import answers
from bench.display import words
from bench.display.parts import Card, Table, table
from bench.record.finding import Finding, Part
from bench.record.interval import Interval
from bench.statistics import resampling, stats
from compress.errors import NothingToMeasure, UserError
from compress.model import temperature
from compress.tasks import Link
from deploy.checking import divergence

if TYPE_CHECKING:
    from bench.answers.answers import Pair

TITLE = "Confidence"
RANK = 50
BINS = 15


class Bin(Part):
    """Answers of like confidence: their mean confidence, how many of them were right, how many there are."""

    confidence: float
    right: float
    count: int


class Reliability(Part):
    """How well confidence matches being right.

    Attributes:
        ece: expected calibration error over bins of equal mass.
        brier: mean squared error of the probabilities.
        nll: mean negative log likelihood of the truth, in nats.
        bins: by rising confidence.
    """

    ece: float
    brier: float
    nll: float
    bins: tuple[Bin, ...]


class Calibration(Finding):
    """Confidence before and after, as it is and with a fitted temperature.

    Attributes:
        decisions: that were counted: rows, labels of rows, or words.
        before: the original.
        after: the candidate.
        changes: ``ece``, ``brier``, ``nll`` -> paired interval of the difference.
        temperature_before: fitted for the original on ``selection_rows``; None where there are none.
        temperature_after: for the candidate.
        selection_rows: that temperatures were fitted on; no evaluation row is among them.
        scaled_before: the original at its temperature.
        scaled_after: the candidate at its temperature.
        scaled_changes: intervals of the differences of those.
        notes: what a reader must know.
    """

    kind: Literal["calibration"] = "calibration"
    decisions: int
    before: Reliability
    after: Reliability
    changes: dict[str, Interval]
    temperature_before: float | None = None
    temperature_after: float | None = None
    selection_rows: int = 0
    scaled_before: Reliability | None = None
    scaled_after: Reliability | None = None
    scaled_changes: dict[str, Interval] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


MODEL = Calibration


@dataclass(frozen=True)
class Sums:
    """What the three figures are sums of, by row.

    Attributes:
        gaps: confidence less right, by bin, float64 [rows, bins].
        brier: squared error, float64 [rows].
        nll: in nats, float64 [rows].
        counts: decisions, float64 [rows].
        bins: for the plot.
    """

    gaps: np.ndarray
    brier: np.ndarray
    nll: np.ndarray
    counts: np.ndarray
    bins: tuple[Bin, ...]

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """``ece``, ``brier`` and ``nll`` under row weights [..., rows]."""
        wide = np.asarray(weights, dtype=np.float64)
        total = wide @ self.counts
        return {
            "ece": np.abs(wide @ self.gaps).sum(axis=-1) / total,
            "brier": wide @ self.brier / total,
            "nll": wide @ self.nll / total,
        }

    def reliability(self) -> Reliability:
        """The figures of all rows."""
        figures = self.figures(np.ones(len(self.counts)))
        return Reliability(**{name: float(value) for name, value in figures.items()}, bins=self.bins)


def _confidences(
    outputs: np.ndarray, truth: np.ndarray, link: Link
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence and whether it was right, [decisions]; squared error, [decisions of the outputs]."""
    if link == "softmax":
        p = np.exp(divergence.log_softmax(outputs))
        true = np.eye(p.shape[1])[truth.astype(np.int64)]
        return p.max(axis=1), (p.argmax(axis=1) == truth).astype(np.float64), ((p - true) ** 2).sum(axis=1)
    p = 1 / (1 + np.exp(-outputs))
    right = ((p >= 0.5) == (truth > 0.5)).astype(np.float64)
    return np.maximum(p, 1 - p).reshape(-1), right.reshape(-1), ((p - truth) ** 2).sum(axis=1)


def sums(
    outputs: np.ndarray,
    truth: np.ndarray,
    owner: np.ndarray,
    rows: int,
    link: Link,
    scale: float = 1.0,
    bins: int = BINS,
) -> Sums:
    """The sums of one model.

    Args:
        outputs: before the link, float64 [decisions, classes].
        truth: class ids, or 0/1 for each label.
        owner: row of each decision, int64 [decisions].
        rows: how many there are.
        link: ``softmax`` or ``sigmoid`` (each label is then a decision).
        scale: temperature.
        bins: of equal mass; fewer where there are fewer decisions.
    """
    confidence, right, squared = _confidences(outputs / scale, truth, link)
    labels = 1 if link == "softmax" else outputs.shape[1]
    owners = np.repeat(owner, labels)
    order = np.argsort(confidence, kind="stable")
    gaps = np.zeros((rows, min(bins, len(order))))
    groups = []
    for place, members in enumerate(np.array_split(order, gaps.shape[1])):
        np.add.at(gaps[:, place], owners[members], confidence[members] - right[members])
        groups.append(
            Bin(
                confidence=float(confidence[members].mean()),
                right=float(right[members].mean()),
                count=len(members),
            )
        )
    losses = temperature.nll(outputs, truth, link, scale) * labels
    return Sums(
        gaps=gaps,
        brier=np.bincount(owner, weights=squared, minlength=rows),
        nll=np.bincount(owner, weights=losses, minlength=rows),
        counts=np.bincount(owners, minlength=rows).astype(np.float64),
        bins=tuple(groups),
    )


def _prepared(pair: Pair) -> tuple[Link, np.ndarray, np.ndarray, np.ndarray]:
    """Link, truth and both models' outputs.

    Raises:
        DataError: no labels.
        NothingToMeasure: the task's answers have no probabilities.
    """
    answers.needs_labels(pair, "calibration")
    link, before, after = answers.decided(pair, "calibration")
    if link == "identity":
        raise NothingToMeasure(
            "calibration is about probabilities, and this model gives numbers: look at flips"
        )
    if pair.before.truth is None:
        raise NothingToMeasure("calibration needs a true class for each decision, and this task gives none")
    return link, pair.before.truth, before, after


def _changes(before: Sums, after: Sums, weights: np.ndarray) -> dict[str, Interval]:
    drawn_after, drawn_before = after.figures(weights), before.figures(weights)
    everything = np.ones(weights.shape[1])
    plain_own, plain_other = after.figures(everything), before.figures(everything)
    intervals = {
        name: resampling.centered(
            float(plain_own[name] - plain_other[name]), drawn_after[name] - drawn_before[name]
        )
        for name in drawn_after
    }
    return {name: interval for name, interval in intervals.items() if interval is not None}


def find(
    pair: Pair, selection: Pair | None, missing: str | None, generator: np.random.Generator
) -> Calibration:
    """The finding.

    Args:
        pair: of answers on labeled evaluation rows.
        selection: of answers on the selection rows, on which temperatures are fitted; None without.
        missing: why there are no selection rows.
        generator: of resamples.

    Raises:
        UserError: no labels, or answers without probabilities.
    """
    link, truth, before, after = _prepared(pair)
    count, owner = len(pair.rows), pair.before.owner
    weights = stats.resample_weights(count, generator)
    notes = [] if missing is None else [f"no temperature was fitted: {missing}"]
    plain = [sums(side, truth, owner, count, link) for side in (before, after)]
    finding = Calibration(
        decisions=int(plain[0].counts.sum()),
        before=plain[0].reliability(),
        after=plain[1].reliability(),
        changes=_changes(plain[0], plain[1], weights),
        notes=tuple(notes),
    )
    if selection is None:
        return finding
    try:
        fitted = _temperatures(selection)
    except UserError as refusal:
        return finding.model_copy(update={"notes": (*notes, f"no temperature was fitted: {refusal}")})
    scaled = [
        sums(side, truth, owner, count, link, scale)
        for side, scale in zip((before, after), fitted, strict=True)
    ]
    return finding.model_copy(
        update={
            "temperature_before": fitted[0],
            "temperature_after": fitted[1],
            "selection_rows": len(selection.rows),
            "scaled_before": scaled[0].reliability(),
            "scaled_after": scaled[1].reliability(),
            "scaled_changes": _changes(scaled[0], scaled[1], weights),
        }
    )


def _temperatures(selection: Pair) -> tuple[float, float]:
    link, truth, before, after = _prepared(selection)
    return temperature.fit(before, truth, link), temperature.fit(after, truth, link)


def sentences(finding: Calibration) -> list[str]:
    """How far confidence is off, before and now, and what a temperature would mend."""
    mean = [
        sum(group.confidence * group.count for group in side.bins) / finding.decisions
        - sum(group.right * group.count for group in side.bins) / finding.decisions
        for side in (finding.before, finding.after)
    ]
    manner = "too sure of itself" if mean[1] > 0 else "not sure enough of itself"
    text = (
        f"On average confidence is off by {words.share(finding.before.ece)} before and "
        f"{words.share(finding.after.ece)} now (change {words.change(finding.after.ece - finding.before.ece)}"
    )
    interval = finding.changes.get("ece")
    text += f", 95 % interval {words.between(interval)})" if interval else ")"
    text += f"; on the whole the candidate is {manner} by {words.share(abs(mean[1]))}. "
    if finding.temperature_after is None or finding.scaled_after is None:
        return [text]
    text += (
        f"At the temperature that {finding.selection_rows} selection rows ask for "
        f"({finding.temperature_after:.2f}; original: {finding.temperature_before:.2f}) the candidate is "
        f"off by {words.share(finding.scaled_after.ece)}. "
    )
    if finding.scaled_after.ece < finding.after.ece:
        return [f"{text}'paredown calibrate' folds that into the model and changes no answer."]
    return [f"{text}That is no help here, as happens where the model was trained on the selection rows, too."]


def tables(finding: Calibration) -> list[Table]:
    """Both models, as they are and at their temperatures."""
    sides = (
        ("original", finding.before, None),
        ("candidate", finding.after, None),
        ("original at its temperature", finding.scaled_before, finding.temperature_before),
        ("candidate at its temperature", finding.scaled_after, finding.temperature_after),
    )
    rows = [
        [
            name,
            f"{heat:.3f}" if heat else "1",
            words.share(side.ece, 2),
            f"{side.brier:.4f}",
            f"{side.nll:.4f}",
        ]
        for name, side, heat in sides
        if side is not None
    ]
    header = ["model", "temperature", "calibration error", "Brier score", "negative log likelihood"]
    return [table("Figures", header, rows)]


def cards(finding: Calibration) -> list[Card]:
    """The calibration error now and before."""
    before, after = finding.before.ece, finding.after.ece
    return [Card("Calibration error", words.share(after), "", "", f"{words.share(before)} before")]


def steps(finding: Calibration) -> dict[str, str]:
    """The calibration error."""
    return {"calibration error": words.share(finding.after.ece)}


def notes(finding: Calibration) -> list[str]:
    """What a reader must know."""
    return list(finding.notes)


def plots(finding: Calibration) -> list[tuple[str, str]]:
    """How often answers of a confidence are right, before and now; the diagonal is honest confidence."""
    # Only the page draws, and the library takes long to import.
    from bench.display import svg
    from bench.display.plots import AFTER, BEFORE

    curves = [("original", finding.before, BEFORE, "-"), ("candidate", finding.after, AFTER, "-")]
    if finding.scaled_after is not None:
        curves.append(("candidate at its temperature", finding.scaled_after, AFTER, ":"))

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        low = min(100 * min(group.confidence, group.right) for _, side, _, _ in curves for group in side.bins)
        start = max(0.0, low - 3)
        axes.plot([start, 100], [start, 100], color=svg.INK, linewidth=0.8, alpha=0.5, linestyle="--")
        for name, side, shade, line in curves:
            axes.plot(
                [100 * group.confidence for group in side.bins],
                [100 * group.right for group in side.bins],
                marker="o",
                markersize=4,
                linestyle=line,
                color=shade,
                label=name,
            )
        axes.set_xlim(start, 101)
        axes.set_ylim(start, 102)
        axes.set_xlabel("confidence, % (below the dashed line: too sure)")
        axes.set_ylabel("right, %")
        axes.grid()
        figure.legend(loc="outside lower center", ncols=2, fontsize=11)

    drawing = svg.render(draw, 3.8, "Share of right answers by confidence, before and now", "reliability")
    return [("How often answers of a confidence are right", drawing)]
