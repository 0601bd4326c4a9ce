"""What a report says in a few figures and words: shared by the terminal, Markdown and HTML."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from bench import probes
from bench.machine import devices
from bench.record.figure import Figure
from bench.record.model import Candidate, Counts, Interval, Measurement, Report, Status
from bench.verdicts import chance, worth
from compress import quantities

NONE = "-"
STATUS_WORDS: dict[Status | None, str] = {
    "pass": "passed",
    "fail": "FAILED",
    "inconclusive": "inconclusive",
    "anomalous": "anomalous",
    None: "not judged",
}


def figures(report: Report) -> Mapping[str, Figure]:
    """How each metric of a report is shown, in the order in which the report has them.

    Of several that are what a task is about, the first alone has the columns and the card.
    """
    measured = dict.fromkeys(
        (measurement.probe, measurement.metric, measurement.unit) for measurement in report.measurements
    )
    return _figures(tuple(measured), report.task, tuple(sys.path))


@lru_cache(maxsize=16)  # every part of every face asks
def _figures(
    measured: tuple[tuple[str, str, str], ...], task: str, _path: tuple[str, ...]
) -> Mapping[str, Figure]:
    by_metric: dict[str, Figure] = {}
    leads = ""
    for probe, metric, unit in measured:
        figure = probes.figure(probe, metric)
        declared = probes.task_metric(task, metric).title if figure.main else ""
        title = figure.title or declared or quantities.title(metric, unit)
        figure = replace(figure, title=title)
        if figure.main:
            leads = leads or metric
            figure = figure if metric == leads else replace(figure, columns=(), card="", main=False)
        by_metric.setdefault(metric, figure)
    return MappingProxyType(by_metric)


def main_metric(report: Report) -> str | None:
    """The metric that the task is about: the first that the report holds."""
    return next((metric for metric, figure in figures(report).items() if figure.main), None)


def timed(report: Report) -> str | None:
    """The metric whose ratio to the baseline is the speed-up of the table of candidates."""
    return next(
        (
            metric
            for metric, figure in figures(report).items()
            if any(column.shows == "times" and not column.table for column in figure.columns)
        ),
        None,
    )


def grid(report: Report) -> list[dict[str, int | str]]:
    """The points at which the figures of the table of candidates were measured, in order."""
    metric, points = timed(report), []
    for measurement in report.measurements:
        if measurement.metric == metric and measurement.conditions not in points:
            points.append(measurement.conditions)
    return points


def at(report: Report, candidate: str, metric: str, figure: Figure) -> Measurement | None:
    """A candidate's figure; of several on a grid the one at its first point."""
    points = grid(report) if figure.grid else []
    return report.find(candidate, metric, **(points[0] if points else {}))


def runs_in(candidate: Candidate) -> str:
    """A candidate's runtime with its options."""
    options = "".join(f" {key}={value}" for key, value in sorted(candidate.runtime_options.items()))
    return f"{candidate.runtime}{options}"


def shipped(report: Report) -> str:
    """The candidate that ships: the last one."""
    return report.candidates[-1].name


def overall(report: Report) -> Status | None:
    """The worst status of all verdicts; None where nothing was judged.

    An inconclusive one that counts as failed has failed; one that counts as passed is still shown as open.
    """
    statuses = {verdict.status for verdict in report.verdicts}
    if report.inconclusive == "fail" and "inconclusive" in statuses:
        statuses.add("fail")
    order: tuple[Status, ...] = ("fail", "anomalous", "inconclusive", "pass")
    return next((status for status in order if status in statuses), None)


def speedup(measurement: Measurement | None) -> tuple[float, Interval | None] | None:
    """How many times faster than the baseline, with its interval, from a latency's ratio."""
    if measurement is None or not measurement.ratio:
        return None
    interval = measurement.ratio_interval
    if interval is not None and interval.low > 0:
        interval = Interval(low=1 / interval.high, high=1 / interval.low, level=interval.level)
    return 1 / measurement.ratio, interval


def value(measurement: Measurement | None, figure: Figure) -> str:
    """A figure with its unit; bytes of a process in MiB and of a file in MB."""
    if measurement is None:
        return NONE
    if measurement.unit == "bytes" and figure.exact == "memory":
        return quantities.memory(measurement.value)
    return quantities.figure(measurement.value, measurement.unit)


def change(measurement: Measurement | None) -> str:
    """A metric's difference to the baseline: points for a share."""
    if measurement is None or measurement.difference is None:
        return NONE
    return (
        f"{100 * measurement.difference:+.2f} pt"
        if measurement.unit == "share"
        else f"{measurement.difference:+.4f}"
    )


def change_interval(measurement: Measurement | None) -> str:
    """The interval of a metric's difference, or an empty text."""
    if measurement is None or measurement.difference_interval is None:
        return ""
    interval = measurement.difference_interval
    factor, places = (100, 2) if measurement.unit == "share" else (1, 4)
    return f"{factor * interval.low:+.{places}f} to {factor * interval.high:+.{places}f}"


def times(multiple: tuple[float, Interval | None] | None) -> str:
    """A multiple, such as ``4.2x``."""
    return NONE if multiple is None else f"{quantities.digits(multiple[0])}x"


def times_interval(multiple: tuple[float, Interval | None] | None) -> str:
    """The interval of a multiple, or an empty text."""
    if multiple is None or multiple[1] is None:
        return ""
    return f"{quantities.digits(multiple[1].low)}x to {quantities.digits(multiple[1].high)}x"


OF_THE_SAMPLE = frozenset({"batch_size", "rows", "cases"})


def where(conditions: Mapping[str, int | str]) -> str:
    """What tells figures of one name apart, in words: a point of the grid, then all else."""
    length = conditions.get("length")
    words = [
        f"{key} {setting}"
        for key, setting in conditions.items()
        if key not in {*OF_THE_SAMPLE, "length", "unit"}
    ]
    if length is not None:
        rows = "real rows" if length == "data" else f"{length} {conditions.get('unit', 'tokens')}"
        words = [f"batch {conditions.get('batch_size')}", rows, *words]
    return ", ".join(words)


def counts_as(counts: Counts | None) -> str:
    """What an inconclusive verdict counts as, in words; empty where nothing was said."""
    return {
        "pass": "counted as passed (--inconclusive pass)",
        "fail": "counted as failed (--inconclusive fail)",
    }.get(counts or "", "")


def headline(report: Report) -> str:
    """The verdict in one line, and whether the baseline is at chance, which makes it worthless."""
    at_chance = chance.found(report) is not None
    return _verdict(report) + (f"; the baseline '{report.baseline}' is at chance" if at_chance else "")


def _verdict(report: Report) -> str:
    status = overall(report)
    inconclusive = report.inconclusive
    opened = sum(verdict.status == "inconclusive" for verdict in report.verdicts)
    failing = {"fail", "inconclusive"} if inconclusive == "fail" else {"fail"}
    failed = [verdict.gate for verdict in report.verdicts if verdict.status in failing]
    if status is None:
        return f"{shipped(report)}: measured, not judged (no gates)"
    if status == "fail":
        listed = ", ".join(failed)
        counted = (
            f"; {opened} inconclusive, {counts_as(inconclusive)}" if inconclusive == "fail" and opened else ""
        )
        return f"{shipped(report)}: FAILED {len(failed)} of {len(report.verdicts)} gates ({listed}){counted}"
    if status == "pass":
        gates = "the gate" if len(report.verdicts) == 1 else f"all {len(report.verdicts)} gates"
        return f"{shipped(report)}: passed {gates}"
    listed = ", ".join(verdict.gate for verdict in report.verdicts if verdict.status == status)
    count = sum(verdict.status == status for verdict in report.verdicts)
    counted = f", {counts_as(inconclusive)}" if inconclusive and status == "inconclusive" else ""
    gates = f"{count} of {len(report.verdicts)} gates ({listed})"
    return f"{shipped(report)}: {STATUS_WORDS[status]} in {gates}{counted}"


def notes(report: Report) -> list[str]:
    """Every note of the measurements, each once, with the probe and the candidates that it is about."""
    mentions: dict[tuple[str, str], dict[str, None]] = {}
    for measurement in report.measurements:
        about = (
            f"{measurement.probe}, {where(measurement.conditions)}"
            if "length" in measurement.conditions
            else measurement.probe
        )
        for note in measurement.notes:
            mentions.setdefault((about, note), {})[measurement.candidate] = None
    everyone = len(report.candidates)
    return [
        f"{about}: {note}" + ("" if len(names) == everyone else f" ({', '.join(names)})")
        for (about, note), names in mentions.items()
    ]


def explanation(report: Report) -> list[str]:
    """What was measured and how, in sentences."""
    sentences = [
        f"{'No' if report.data.rows is None else report.data.rows} evaluation rows; task {report.task}; the "
        f"baseline is '{report.baseline}', and '{shipped(report)}' is what ships."
    ]
    for name in dict.fromkeys(measurement.probe for measurement in report.measurements):
        probe = probes.entry(name)
        sentences += [sentence] if probe is not None and (sentence := probe.explanation(report)) else []
    return [*sentences, f"{report.choice}."] if report.choice else sentences


def answers(report: Report) -> list[str]:
    """What a report answers in sentences: where INT8 is worth it."""
    return [answer.sentence() for answer in worth.answers(report)]


def when(report: Report) -> str:
    """The time of measuring, to the minute."""
    return f"{report.created[:16].replace('T', ' ')} UTC"


def machine(report: Report) -> Sequence[tuple[str, str]]:
    """Machine, GPU and versions, as pairs, then the machine's state before and after measuring."""
    pairs = sorted([*report.environment.items(), *devices.lines(report.device)])
    for moment, state in report.conditions:
        pairs += [(f"{fact}, {moment.replace('_', ' ')}", text) for fact, text in state.items()]
    return pairs
