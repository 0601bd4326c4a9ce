"""Calibration before and after, as the models are and at temperatures fitted on the selection rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.findings import answers, reliability
from bench.findings.flips import needs_labels
from bench.record.findings import Calibration, Interval
from bench.statistics import resampling, stats
from compress.errors import NothingToMeasure, UserError
from compress.model import temperature

if TYPE_CHECKING:
    from bench.findings.answers import Pair
    from bench.findings.reliability import Sums
    from compress.tasks import Link


def _prepared(pair: Pair) -> tuple[Link, np.ndarray, np.ndarray, np.ndarray]:
    """Link, truth and both models' outputs.

    Raises:
        DataError: no labels.
        NothingToMeasure: the task's answers have no probabilities.
    """
    needs_labels(pair, "calibration")
    link, before, after = answers.decided(pair, "calibration")
    if link == "identity":
        raise NothingToMeasure(
            "calibration is about probabilities, and this model gives numbers: look at flips"
        )
    if pair.before.truth is None:
        raise NothingToMeasure("calibration needs a true class for each decision, and this task gives none")
    return link, pair.before.truth, before, after


def _changes(before: Sums, after: Sums, weights: np.ndarray) -> dict[str, Interval]:
    own, other = after.figures(weights), before.figures(weights)
    everything = np.ones(weights.shape[1])
    plain_own, plain_other = after.figures(everything), before.figures(everything)
    found = {
        name: resampling.centered(float(plain_own[name] - plain_other[name]), own[name] - other[name])
        for name in own
    }
    return {name: one for name, one in found.items() if one is not None}


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
    plain = [reliability.sums(side, truth, owner, count, link) for side in (before, after)]
    made = Calibration(
        decisions=int(plain[0].counts.sum()),
        before=plain[0].reliability(),
        after=plain[1].reliability(),
        changes=_changes(plain[0], plain[1], weights),
        notes=tuple(notes),
    )
    if selection is None:
        return made
    try:
        fitted = _temperatures(selection)
    except UserError as refusal:
        return made.model_copy(update={"notes": (*notes, f"no temperature was fitted: {refusal}")})
    scaled = [
        reliability.sums(side, truth, owner, count, link, scale)
        for side, scale in zip((before, after), fitted, strict=True)
    ]
    return made.model_copy(
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
