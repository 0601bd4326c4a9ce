"""Flips: which answers changed, whether that harmed, and the rows themselves."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from bench.findings import answers, scoring, shown
from bench.record.findings import Flips, Matrix, Parts, Row
from bench.statistics import paired, resampling, stats
from compress.errors import DataError

if TYPE_CHECKING:
    from bench.findings.answers import Pair
    from bench.record.findings import Change

_MATRIX_LABELS = 12
_DIVERGENT = 20
_ORDER: dict[Change, int] = {"harmful": 0, "other": 1, "beneficial": 2, "none": 3}


def needs_labels(pair: Pair, purpose: str) -> None:
    """Refuse rows without labels.

    Raises:
        DataError: there are none.
    """
    if pair.references is None:
        raise DataError(
            f"the evaluation rows have no labels, which {purpose} needs: give labeled rows, or look at "
            "divergence and agreement, which need none"
        )


def matrix(pair: Pair) -> Matrix | None:
    """Answers of the original against those of the candidate; None where a row has no single label."""
    labels = pair.head.labels
    values = [
        (old.value, new.value)
        for old, new in zip(pair.before.predictions, pair.after.predictions, strict=True)
    ]
    if pair.head.problem != "single_label" or not 2 <= len(labels) <= _MATRIX_LABELS:
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
    tags = scoring.many(pair.before.predictions[0], head)
    if head.problem == "regression" or not (tags or head.problem == "multi_label"):
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


def find(pair: Pair, task: ModuleType, listed: int, within: float, generator: np.random.Generator) -> Flips:
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
    needs_labels(pair, "finding flips")
    number = pair.head.problem == "regression"
    values = np.array([one.value for one in pair.before.predictions]) if number else np.zeros(1)
    tolerance = float(within * np.ptp(values.astype(np.float64))) if number else 0.0
    kinds = shown.changes(pair, tolerance)
    distance = answers.divergences(pair)
    rank = distance if distance is not None else np.zeros(len(kinds))
    flipped = sorted(
        (i for i, kind in enumerate(kinds) if kind != "none"), key=lambda i: (_ORDER[kinds[i]], -rank[i], i)
    )
    harmful, beneficial = kinds.count("harmful"), kinds.count("beneficial")
    found = Flips(
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
    return found.model_copy(update=_errors(pair, task, generator)) if number else found


def _errors(pair: Pair, task: ModuleType, generator: np.random.Generator) -> dict[str, object]:
    score = scoring.score(pair, task)
    weights = stats.resample_weights(len(score.before), generator)
    _, drawn = resampling.difference(score.before, score.after, score.of, weights)
    before, after = score.values()
    return {"error_before": before, "error_after": after, "error_interval": stats.interval(drawn)}


def _divergent(
    pair: Pair, task: ModuleType, kinds: list[Change], distance: np.ndarray | None, most: int
) -> tuple[Row, ...]:
    if distance is None:
        return ()
    order = np.argsort(-distance, kind="stable")[:most]
    return tuple(shown.rows(pair, task, [int(i) for i in order if distance[i] > 0], kinds, distance))
