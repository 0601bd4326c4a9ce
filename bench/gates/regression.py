"""How much worse a figure may be than in a stored report of the same machine and the same rows.

The baseline comes from ``paredown baseline save``. Where there is none yet, or only one of another machine,
the verdict is inconclusive and says how one is saved. Figures of other rows or another setting are refused,
not compared. Judged by the interval, with "unchanged" as what a regression must exclude.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import field_validator, model_validator

from bench import probes
from bench.gates import IntervalGateConfig, decide, missing
from bench.gates.latency import At
from bench.record.limits import Limit, Worse
from bench.record.model import Interval, Report, Verdict
from bench.verdicts import baselines, regression
from compress.errors import RecipeError, UserError
from compress.pipeline.places import Place

PROBE = None
# Better than the stored figure by this much is no improvement but another model, or another measurement.
_LEAP_RATIO, _LEAP_POINTS = 0.5, -5.0


class Config(IntervalGateConfig):
    """Options.

    Attributes:
        baseline: a folder, ``git:BRANCH`` or a report file.
        name: of the stored baseline.
        metric: such as ``latency_p50_ms``, ``accuracy``, ``size_bytes``.
        at: the point of the grid, for latency and throughput; one row at a time at the rows' own lengths
            when absent.
        worse_by_at_most: such as ``5%``; for metrics that are shares in points, such as ``0.5pt``.
    """

    baseline: Place
    name: str = baselines.MAIN
    metric: str = "latency_p50_ms"
    at: At | None = None
    worse_by_at_most: Worse

    @model_validator(mode="before")
    @classmethod
    def _grid(cls, tree: Any) -> Any:
        if isinstance(tree, dict):
            metric = tree.get("metric", cls.model_fields["metric"].default)
            return {"at": {}, **tree} if probes.of_metric(str(metric))[1].grid else tree
        return tree

    @field_validator("metric")
    @classmethod
    def _one(cls, metric: str) -> str:
        gate = probes.of_metric(metric)[1].gate
        if gate:
            raise ValueError(
                f"'{metric}' has several figures in a report, and a regression is of one: use the gate "
                f"'{gate}', which looks at all of them"
            )
        return metric

    @property
    def probe(self) -> str:
        """The probe that yields the metric."""
        return probes.of_metric(self.metric)[0]


def ready(config: Config, environment: Mapping[str, str]) -> str | None:
    """Why nothing can be compared yet, where there is no baseline for this machine.

    Args:
        config: of the gate.
        environment: that the report will record.

    Raises:
        UserError: the baseline was edited, or has no such figure.
    """
    try:
        old = baselines.load(config.baseline, environment, config.name)
    except baselines.NoBaseline as absence:
        return str(absence)
    names = dict.fromkeys(measurement.metric for measurement in old.measurements)
    if config.metric not in names:
        raise UserError(
            f"gate 'regression': the baseline '{config.name}' in {config.baseline} has no figure "
            f"'{config.metric}'; it has: {', '.join(names)}. Name one of them, or save a baseline that has it"
        )
    return None


def comparable(report: Report, candidate: str, config: Config) -> None:
    """Refuse other rows or another setting than the baseline's, before anything is measured.

    Raises:
        UserError: the two are not comparable.
    """
    _baseline(report, candidate, config)


def check(report: Report, candidate: str, config: Config) -> Verdict:
    """Judge the change since the stored report; inconclusive where there is none to compare with yet.

    Raises:
        UserError: the two are not comparable.
    """
    limit, metric = config.worse_by_at_most, config.metric
    old = _baseline(report, candidate, config)
    point = {} if config.at is None else {"batch_size": config.at.batch_size, "length": config.at.length}
    now = report.find(candidate, metric, **point)
    if now is None:
        return missing(report, "regression", candidate, metric, limit.text, metric)
    if regression.in_points(now) != (limit.unit == "pt"):
        unit = "points, such as 0.5pt" if regression.in_points(now) else "percent, such as 5%"
        raise RecipeError(f"gate 'regression': {metric} is judged in {unit}; got '{limit.text}'")
    if isinstance(old, baselines.NoBaseline):
        return _open(candidate, config, None, f"{metric} is {now.value:.4g} now; {old}")
    change = regression.change(report, old, now)
    if change is None:
        description = f"{metric} (it is here, and the baseline lacks it)"
        return missing(report, "regression", candidate, metric, limit.text, description)
    shift = f"{-change.worse:+.2f}pt" if change.points else f"{100 * (change.worse - 1):+.1f} % cost"
    text = f"{metric} {change.old:.4g} then, {change.new:.4g} now ({shift}, {change.how}{_ends(change)})"
    leaps = change.worse < _LEAP_POINTS if change.points else change.worse < _LEAP_RATIO
    anomaly = "so much better is another model or another measurement" if leaps else change.moved
    allowed = limit if change.points else Limit(limit.text, 1 + limit.value, "x")
    if change.unknown is not None and anomaly is None and change.spoiled is None and config.judge != "point":
        reason = f"{text}; allowed: at most {limit.text}; {change.unknown}"
        return _open(candidate, config, change.worse, reason)
    return decide(
        "regression",
        candidate,
        metric,
        change.worse,
        change.interval,
        allowed,
        at_most=True,
        said=text,
        judge=config.judge,
        unchanged=change.unchanged,
        widened=change.widened,
        spoiled=change.spoiled,
        advice="measure both with more rounds or rows on a machine at rest",
        anomaly=anomaly,
    )


def _baseline(report: Report, candidate: str, config: Config) -> Report | baselines.NoBaseline:
    """The stored report, or why there is none to compare with yet.

    Raises:
        UserError: it is damaged, or not comparable.
    """
    try:
        old = baselines.load(config.baseline, report.environment, config.name)
        regression.refuse(report, old, candidate)
    except baselines.NoBaseline as absence:
        return absence
    return old


def _open(candidate: str, config: Config, value: float | None, reason: str) -> Verdict:
    """An inconclusive verdict that no interval is the reason of."""
    return Verdict(
        gate="regression",
        candidate=candidate,
        status="inconclusive",
        metric=config.metric,
        value=value,
        interval=None,
        limit=config.worse_by_at_most.text,
        reason=reason,
    )


def _ends(change: regression.Change) -> str:
    interval: Interval | None = change.interval
    if interval is None:
        return ""
    level = f"; {100 * interval.level:.0f} % interval"
    if change.points:
        return f"{level} {-interval.high:+.2f} to {-interval.low:+.2f}"
    return f"{level} {100 * (interval.low - 1):+.1f} to {100 * (interval.high - 1):+.1f}"
