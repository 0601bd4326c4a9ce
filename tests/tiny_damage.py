"""Hand-made answers and reports for the tests of damage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tiny_bench

from bench.answers.answers import Answers, Pair
from bench.answers.shown import Row
from bench.findings.flips import Flips
from bench.findings.slices import Slice, Slices
from bench.record.model import Interval, Report
from compress.tasks import Head, Link, Prediction

HEAD = Head("single_label", ("negative", "positive"))


def answers(p: Sequence[float], truth: Sequence[int] | None = None) -> Answers:
    """Answers of a two-class model that gives the second class these probabilities."""
    chances = np.asarray(p, dtype=np.float64)
    outputs = np.stack([np.log(1 - chances), np.log(chances)], axis=1)
    predictions = [
        Prediction(
            value=int(chance > 0.5), label=HEAD.labels[int(chance > 0.5)], probabilities=(1 - chance, chance)
        )
        for chance in chances.tolist()
    ]
    return Answers(
        predictions=predictions,
        outputs={"logits": outputs},
        owner=np.arange(len(chances)),
        truth=None if truth is None else np.asarray(truth),
        links={"logits": "softmax"},
    )


def pair(
    before: Sequence[float],
    after: Sequence[float],
    truth: Sequence[int] | None,
    rows: Sequence[dict[str, Any]] | None = None,
) -> Pair:
    """Two models that give the second class these probabilities, on rows with these labels."""
    examples = rows or [{"text": f"row {i}"} for i in range(len(before))]
    return Pair(
        rows=examples,
        head=HEAD,
        before=answers(before, truth),
        after=answers(after, truth),
        references=None if truth is None else list(truth),
    )


def decided(
    head: Head,
    before: Sequence[Any],
    after: Sequence[Any],
    truth: Sequence[Any],
    rows: Sequence[dict[str, Any]],
) -> Pair:
    """Two models that decide these values; no distributions."""

    def side(values: Sequence[Any]) -> Answers:
        predictions = [
            Prediction(
                value=value,
                label=tuple(head.labels[i] for i in value) if isinstance(value, tuple) else value,
            )
            for value in values
        ]
        links: dict[str, Link] = {"logits": "softmax"}
        return Answers(predictions, {}, np.arange(len(values)), None, links)

    return Pair(rows=rows, head=head, before=side(before), after=side(after), references=list(truth))


def row(number: int, **changes: Any) -> Row:
    """A flipped row."""
    fields: dict[str, Any] = {
        "number": number,
        "cells": {"text": f"text of row {number}"},
        "truth": "positive",
        "before": "positive",
        "after": "negative",
        "change": "harmful",
    }
    return Row(**{**fields, **changes})


def finding() -> tuple[Flips, Slices]:
    """Six harmful flips, and four slices of which the first is the worst."""
    flips = Flips(
        rows=100,
        harmful=6,
        beneficial=1,
        other=0,
        p_value=0.125,
        harmful_interval=Interval(low=0.03, high=0.12),
        worst=tuple(row(i) for i in range(1, 7)),
    )
    slices = Slices(
        metric="accuracy",
        unit="share",
        better="higher",
        before=0.92,
        after=0.91,
        slices=tuple(
            Slice(
                family="label",
                name=f"class {i}",
                rows=50,
                before=0.9,
                after=0.9 - drop,
                difference=-drop,
                p_value=0.5,
                holm=1.0,
                bh=0.5,
            )
            for i, drop in enumerate((0.05, 0.03, 0.02, 0.0))
        ),
        small=(),
        min_rows=20,
    )
    return flips, slices


def report(**changes: Any) -> Report:
    """``tiny_bench.report`` with damage, after against before.

    Harmful flips 1 %; worst slice -5 points (-9 to -1); calibration error +1 point, Brier +0.02;
    divergence mean 0.01 and p99 0.1; typos cost 2 points more; a challenge set -2 points; a gap +1 point.
    """
    flips, slices = finding()
    share: dict[str, Any] = {"unit": "share", "better": "lower"}
    measurements = [
        tiny_bench.measurement(
            "after",
            "harmful_flips",
            0.01,
            probe="flips",
            interval=Interval(low=0.002, high=0.05),
            finding=flips,
            **share,
        ),
        tiny_bench.measurement(
            "after",
            "worst_slice",
            0.85,
            probe="slices",
            unit="share",
            better="higher",
            difference=-0.05,
            difference_interval=Interval(low=-0.09, high=-0.01, level=0.9875),
            conditions={"slice": "label: class 0", "rows": 50},
            finding=slices,
        ),
        *(
            tiny_bench.measurement("after", metric, 0.05, probe="calibration_error", difference=rise, **share)
            for metric, rise in (("ece", 0.01), ("brier", 0.02), ("ece_scaled", 0.0))
        ),
        *(
            tiny_bench.measurement("after", metric, value, probe="divergence", unit="nats")
            for metric, value in (("divergence_mean", 0.01), ("divergence_p99", 0.1))
        ),
        *(
            tiny_bench.measurement(
                "after",
                "robustness",
                0.8,
                probe="robustness",
                unit="share",
                better="higher",
                difference=extra,
                conditions={"change": change},
            )
            for change, extra in (("typos", -0.02), ("casing", 0.01))
        ),
        *(
            tiny_bench.measurement(
                "after",
                "challenge",
                0.7,
                probe="challenge",
                unit="share",
                better="higher",
                difference=gap,
                conditions={"set": name},
            )
            for name, gap in (("suite", -0.02), ("pairs", 0.0))
        ),
        *(
            tiny_bench.measurement(
                "after",
                "fairness_gap",
                0.04,
                probe="fairness",
                difference=gap,
                conditions={"of": of, "source": "group"},
                **share,
            )
            for of, gap in (("metric", 0.01), ("equalized odds", 0.005))
        ),
    ]
    plain = tiny_bench.report()
    return tiny_bench.report(**{"measurements": (*plain.measurements, *measurements), **changes})
