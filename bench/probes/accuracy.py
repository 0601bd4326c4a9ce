"""The task's own metrics on the evaluation rows, with paired differences to the baseline.

Rows (or groups of rows that are scored together) are resampled once for all candidates (bootstrap, 2,000
resamples), so that a difference is between figures of the same rows. Predictions come from the lane, that is
from the shipped artifact in the shipped runtime, at a stated batch size: a dynamically quantized model
answers a little differently in other company. Where a metric is the share of rows that are right, the
differing rows are counted too: McNemar's test, and Tango's interval in place of the bootstrap's, which has
no width where no row differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import Field

from bench.lanes import feeds
from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from bench.statistics import paired, stats
from compress import log, tasks
from compress.errors import DataError
from compress.strict import Strict
from compress.tasks import Metric

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = True
FRESH = False
FIGURES = (
    Figure(
        "*",
        columns=(Column(rank=10), Column("change", rank=11, shows="change")),
        rows="page",
        main=True,
        card="Change in {metric}",
        rank=20,
    ),
)


class Config(Strict):
    """Options.

    Attributes:
        batch_size: rows at once; the first of the bench's batch sizes when absent.
    """

    batch_size: int | None = Field(default=None, ge=1, le=65_536)


def right_rows(
    statistics: np.ndarray, metrics: Callable[[np.ndarray], dict[str, float]], metric: Metric
) -> np.ndarray | None:
    """Whether each row is right, bool [rows]; None where the metric is no share of right rows.

    Args:
        statistics: additive row statistics, [rows, k].
        metrics: from summed statistics to figures.
        metric: asked about.
    """
    if not metric.of_rows:
        return None
    values = np.array([metrics(row)[metric.name] for row in statistics])
    return values == 1 if np.isin(values, (0.0, 1.0)).all() else None


def score(
    name: str,
    statistics: dict[str, np.ndarray],
    subject: Subject,
    weights: np.ndarray,
    drawn: dict[str, dict[str, np.ndarray]],
    conditions: dict[str, int | str],
    usual: dict[str, float] | None = None,
    notes: tuple[str, ...] = (),
) -> list[Measurement]:
    """Every metric of one candidate.

    Args:
        name: of the candidate.
        statistics: candidate -> row statistics [rows, k].
        subject: task, head and baseline.
        weights: resamples, [resamples, rows].
        drawn: candidate -> metric -> figures of the resamples; filled here.
        conditions: stated with each figure.
        usual: figures at usual thresholds, of a candidate that has fitted ones.
        notes: said with each figure.
    """
    task, head = subject.task, subject.head

    def metrics(totals: np.ndarray) -> dict[str, float]:
        scored: dict[str, float] = task.metrics(totals, head)
        return scored

    for needed in (subject.baseline, name):
        if needed not in drawn:
            drawn[needed] = stats.resampled_metrics(statistics[needed], metrics, weights)
    values, baseline_values = (
        metrics(statistics[name].sum(axis=0)),
        metrics(statistics[subject.baseline].sum(axis=0)),
    )
    blind: float | None = task.blind(statistics[name].sum(axis=0), head)
    measurements = []
    for metric, value in values.items():
        declared = tasks.metric(task, metric)
        spread = stats.interval(drawn[name][metric] - drawn[subject.baseline][metric])
        right = [
            right_rows(statistics[candidate], metrics, declared) for candidate in (name, subject.baseline)
        ]
        pair = None
        if name != subject.baseline and right[0] is not None and right[1] is not None:
            pair = paired.compare(right[0], right[1])
            spread = paired.tango(pair.worse, pair.better, pair.rows)
        measurements.append(
            Measurement(
                probe="accuracy",
                candidate=name,
                metric=metric,
                value=value,
                unit=declared.unit,
                better=declared.better,
                interval=stats.interval(drawn[name][metric]),
                difference=value - baseline_values[metric],
                difference_interval=spread,
                paired=pair,
                right=None if right[0] is None else paired.pack(right[0]),
                blind=blind if metric == next(iter(values)) else None,
                conditions=conditions,
                notes=notes
                if usual is None
                else (*notes, f"at fitted thresholds; {usual[metric]:.4f} at the usual ones"),
            )
        )
    return measurements


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The task's metrics of every candidate; the first one is the task's main metric.

    Raises:
        DataError: the evaluation rows have no labels.
    """
    if not tasks.all_labelled(subject.task, subject.rows):
        raise DataError(
            "the evaluation rows have no labels, which accuracy needs: give labeled rows, or name the other "
            "probes (--probes latency,memory,size,agreement)"
        )
    size = config.batch_size or subject.bench.batch_sizes[0]
    references = [subject.task.reference(row, subject.head) for row in subject.rows]
    statistics = {}
    usual: dict[str, dict[str, float]] = {}
    with log.progress("accuracy", len(lanes) * len(subject.rows)) as bar:
        for lane in lanes:
            predictions = feeds.predict(lane, subject, size, bar.advance)
            statistics[lane.name] = np.asarray(
                subject.task.statistics(predictions, references, subject.head), dtype=np.float64
            )
            unfitted = feeds.usual_predictions(lane, size)
            if unfitted is not None:
                sums = subject.task.statistics(unfitted, references, subject.head).sum(axis=0)
                usual[lane.name] = subject.task.metrics(sums, subject.head)
    # Rows that are scored together, such as the documents of a query, are resampled together.
    units = len(statistics[subject.baseline])
    weights = stats.resample_weights(units, np.random.default_rng([subject.seed, 5]))
    conditions: dict[str, int | str] = {"rows": len(subject.rows), "batch_size": size}
    if units != len(subject.rows):
        conditions["groups"] = units
    notes = tuple(subject.task.caveats(references))
    for note in notes:
        log.warning("Evaluation rows: %s.", note)
    drawn: dict[str, dict[str, np.ndarray]] = {}
    return [
        measurement
        for lane in lanes
        for measurement in score(
            lane.name, statistics, subject, weights, drawn, conditions, usual.get(lane.name), notes
        )
    ]


def explanation(report: Report) -> str:
    """What was scored, and what the intervals are."""
    tango = any(measurement.paired is not None for measurement in report.measurements)
    grouped = any("groups" in measurement.conditions for measurement in report.measurements)
    units = "groups of rows that are scored together" if grouped else "rows"
    return (
        "Metrics come from the shipped artifacts in the named runtimes. Changes are paired: both models "
        f"on the same rows; 95 % intervals come from a bootstrap over {units}"
        + (", those of shares of right rows from Tango's score test." if tango else ".")
    )
