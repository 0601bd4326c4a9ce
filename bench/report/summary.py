"""What a report says in a few figures and words: shared by the terminal, Markdown and HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.machine import devices
from bench.record.model import Counts, Interval, Measurement, Report, Status
from bench.verdicts import chance, worth

NONE = "-"
STATUS_WORDS: dict[Status | None, str] = {
    "pass": "passed",
    "fail": "FAILED",
    "inconclusive": "inconclusive",
    "anomalous": "anomalous",
    None: "not judged",
}


@dataclass(frozen=True)
class Line:
    """One candidate's figures; None where a probe did not run.

    Attributes:
        name: of the candidate.
        runtime: with its options.
        score: the task's main metric.
        p50: latency at the first point of the grid.
        p95: the same.
        memory: peak of the process.
        size: on disk.
        agreement: with the baseline.
        macs: multiply-accumulates of a row.
        parameters: stored numbers.
        load: seconds to open.
        throughput: rows a second at the first point of the grid.
    """

    name: str
    runtime: str
    score: Measurement | None
    p50: Measurement | None
    p95: Measurement | None
    memory: Measurement | None
    size: Measurement | None
    agreement: Measurement | None
    macs: Measurement | None
    parameters: Measurement | None
    load: Measurement | None
    throughput: Measurement | None


def main_metric(report: Report) -> str | None:
    """The task's main metric: the first that the accuracy probe gave."""
    return next((one.metric for one in report.measurements if one.probe == "accuracy"), None)


def grid(report: Report) -> list[dict[str, int | str]]:
    """The points at which latency was measured, in order."""
    points: list[dict[str, int | str]] = []
    for one in report.measurements:
        if one.probe == "latency" and one.conditions not in points:
            points.append(one.conditions)
    return points


def lines(report: Report) -> list[Line]:
    """One line a candidate, in the report's order."""
    metric = main_metric(report)
    points = grid(report)
    point = points[0] if points else {}
    found = []
    for candidate in report.candidates:
        name = candidate.name
        options = "".join(f" {key}={value}" for key, value in sorted(candidate.runtime_options.items()))
        found.append(
            Line(
                name=name,
                runtime=f"{candidate.runtime}{options}",
                score=report.find(name, metric) if metric else None,
                p50=report.find(name, "latency_p50_ms", **point),
                p95=report.find(name, "latency_p95_ms", **point),
                memory=report.find(name, "memory_peak_bytes"),
                size=report.find(name, "size_bytes"),
                agreement=report.find(name, "agreement"),
                macs=report.find(name, "macs"),
                parameters=report.find(name, "parameters"),
                load=report.find(name, "load_time_s"),
                throughput=report.find(name, "throughput_rows_per_s", **point),
            )
        )
    return found


def shipped(report: Report) -> str:
    """The candidate that ships: the last one."""
    return report.candidates[-1].name


def overall(report: Report) -> Status | None:
    """The worst status of all verdicts; None where nothing was judged.

    An inconclusive one that counts as failed has failed; one that counts as passed is still shown as open.
    """
    seen = {verdict.status for verdict in report.verdicts}
    if report.inconclusive == "fail" and "inconclusive" in seen:
        seen.add("fail")
    order: tuple[Status, ...] = ("fail", "anomalous", "inconclusive", "pass")
    return next((status for status in order if status in seen), None)


def speedup(one: Measurement | None) -> tuple[float, Interval | None] | None:
    """How many times faster than the baseline, with its interval, from a latency's ratio."""
    if one is None or not one.ratio:
        return None
    interval = one.ratio_interval
    if interval is not None and interval.low > 0:
        interval = Interval(low=1 / interval.high, high=1 / interval.low, level=interval.level)
    return 1 / one.ratio, interval


def digits(value: float, count: int = 3) -> str:
    """A figure with ``count`` significant digits: 8.00, 12.3, 0.0456, 1234."""
    if value == 0:
        return "0"
    if not 1e-6 <= abs(value) < 1e9:
        return f"{value:.{count}g}"
    return f"{value:.{max(0, count - 1 - math.floor(math.log10(abs(value))))}f}"


def time(one: Measurement | None) -> str:
    """Milliseconds."""
    return NONE if one is None else f"{digits(one.value)} ms"


def size(value: float) -> str:
    """Bytes as MB (millions), or kB where that is small."""
    return f"{value / 1e6:.1f} MB" if value >= 1e5 else f"{value / 1e3:.1f} kB"


def memory(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / 2**20:.0f} MiB" if value >= 10 * 2**20 else f"{value / 2**20:.1f} MiB"


def count(value: float) -> str:
    """A large count with k, M or G."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{digits(value / factor)} {letter}"
    return f"{value:.0f}"


def score(one: Measurement | None) -> str:
    """A metric: a share in percent, anything else as it is."""
    if one is None:
        return NONE
    return f"{100 * one.value:.2f} %" if one.unit == "share" else f"{one.value:.4f}"


def change(one: Measurement | None) -> str:
    """A metric's difference to the baseline: points for a share."""
    if one is None or one.difference is None:
        return NONE
    return f"{100 * one.difference:+.2f} pt" if one.unit == "share" else f"{one.difference:+.4f}"


def change_interval(one: Measurement | None) -> str:
    """The interval of a metric's difference, or an empty text."""
    if one is None or one.difference_interval is None:
        return ""
    interval = one.difference_interval
    factor, places = (100, 2) if one.unit == "share" else (1, 4)
    return f"{factor * interval.low:+.{places}f} to {factor * interval.high:+.{places}f}"


def times(found: tuple[float, Interval | None] | None) -> str:
    """A multiple, such as ``4.2x``."""
    return NONE if found is None else f"{digits(found[0])}x"


def times_interval(found: tuple[float, Interval | None] | None) -> str:
    """The interval of a multiple, or an empty text."""
    if found is None or found[1] is None:
        return ""
    return f"{digits(found[1].low)}x to {digits(found[1].high)}x"


def where(conditions: dict[str, int | str]) -> str:
    """A point of the grid in words."""
    length = conditions.get("length")
    rows = f"batch {conditions.get('batch_size')}"
    return f"{rows}, real rows" if length == "data" else f"{rows}, {length} tokens"


def counts_as(told: Counts | None) -> str:
    """What an inconclusive verdict counts as, in words; empty where nothing was said."""
    return {
        "pass": "counted as passed (--inconclusive pass)",
        "fail": "counted as failed (--inconclusive fail)",
    }.get(told or "", "")


def headline(report: Report) -> str:
    """The verdict in one line, and whether the baseline is at chance, which makes it worthless."""
    at_chance = chance.found(report) is not None
    return _verdict(report) + (f"; the baseline '{report.baseline}' is at chance" if at_chance else "")


def _verdict(report: Report) -> str:
    status = overall(report)
    told = report.inconclusive
    opened = sum(verdict.status == "inconclusive" for verdict in report.verdicts)
    failing = {"fail", "inconclusive"} if told == "fail" else {"fail"}
    failed = [verdict.gate for verdict in report.verdicts if verdict.status in failing]
    if status is None:
        return f"{shipped(report)}: measured, not judged (no gates)"
    if status == "fail":
        listed = ", ".join(failed)
        counted = f"; {opened} inconclusive, {counts_as(told)}" if told == "fail" and opened else ""
        return f"{shipped(report)}: FAILED {len(failed)} of {len(report.verdicts)} gates ({listed}){counted}"
    if status == "pass":
        gates = "the gate" if len(report.verdicts) == 1 else f"all {len(report.verdicts)} gates"
        return f"{shipped(report)}: passed {gates}"
    listed = ", ".join(verdict.gate for verdict in report.verdicts if verdict.status == status)
    count = sum(verdict.status == status for verdict in report.verdicts)
    counted = f", {counts_as(told)}" if told and status == "inconclusive" else ""
    gates = f"{count} of {len(report.verdicts)} gates ({listed})"
    return f"{shipped(report)}: {STATUS_WORDS[status]} in {gates}{counted}"


def notes(report: Report) -> list[str]:
    """Every note of the measurements, each once, with the probe and the candidates that it is about."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for one in report.measurements:
        about = f"{one.probe}, {where(one.conditions)}" if "length" in one.conditions else one.probe
        for note in one.notes:
            found.setdefault((about, note), {})[one.candidate] = None
    everyone = len(report.candidates)
    return [
        f"{about}: {note}" + ("" if len(names) == everyone else f" ({', '.join(names)})")
        for (about, note), names in found.items()
    ]


def _rounds(report: Report) -> str:
    """How many rounds latency took: more where a verdict was open at first."""
    taken = sorted({one.rounds for one in report.measurements if one.probe == "latency" and one.rounds})
    return " to ".join(map(str, dict.fromkeys((taken[0], taken[-1])))) if taken else str(report.config.rounds)


def explanation(report: Report) -> list[str]:
    """What was measured and how, in sentences."""
    said = [
        f"{'No' if report.data.rows is None else report.data.rows} evaluation rows; task {report.task}; the "
        f"baseline is '{report.baseline}', and '{shipped(report)}' is what ships."
    ]
    probes = {one.probe for one in report.measurements}
    if "latency" in probes:
        said.append(
            "Latency is the model alone (encoded arrays in, arrays out), measured inside each candidate's "
            "own process; tokenization is not in it. Candidates took turns in one run: "
            f"{_rounds(report)} rounds of {report.config.runs} runs, in an order shuffled anew each "
            "round. Speed-ups are medians of per-round ratios; intervals are 95 % bootstrap intervals over "
            "rounds. Milliseconds belong to this machine; ratios carry further."
        )
    if "accuracy" in probes:
        tango = any(one.paired is not None for one in report.measurements)
        said.append(
            "Metrics come from the shipped artifacts in the named runtimes. Changes are paired: both models "
            "on the same rows; 95 % intervals come from a bootstrap over rows"
            + (", those of shares of right rows from Tango's score test." if tango else ".")
        )
    if "execution" in probes:
        said.append(
            "Shares of the time in INT8, FP16 and FP32 come from the runtime's own profile of a separate "
            "pass, which is in no timing."
        )
    if "open_loop" in probes:
        said.append(
            "Open-loop requests arrive by a schedule that does not wait; latency counts from the intended "
            "start, queueing included."
        )
    if "memory" in probes:
        said.append(
            "Memory is the peak of a fresh process as the operating system sees it, libraries included; "
            "the share of the model alone is in the JSON report."
        )
    if "size" in probes:
        said.append("Size counts every file of the artifact, tokenizer included.")
    if "macs" in probes:
        counted = next((one for one in report.measurements if one.metric == "macs"), None)
        length = counted.conditions.get("length") if counted else None
        tokens = f" of {length} tokens" if isinstance(length, int) else ""
        said.append(f"Multiply-accumulates are counted, not timed, for one row{tokens}.")
    if "device_time" in probes:
        said.append(
            "GPU time is that between device events around one run, inputs on the device; enqueue time is "
            "what the host took to enqueue it; end-to-end time has the pinned copies and the wait in it. "
            "They are figures of their own, with and without a CUDA graph."
        )
    if "device_memory" in probes:
        said.append(
            "GPU memory is given as four figures that are not added up: file, weights, activations, and what "
            "the driver says that the process holds, less an empty CUDA context."
        )
    return [*said, f"{report.choice}."] if report.choice else said


def answers(report: Report) -> list[str]:
    """What a report answers in sentences: a baseline at chance, and where INT8 is worth it."""
    return [*chance.sentences(report), *(one.sentence() for one in worth.answers(report))]


_OTHERS = frozenset({"open_loop", "closed_loop", "execution", "energy", "load_time"})


def others(report: Report) -> list[list[str]]:
    """Figures that have no column of their own (load, execution, energy, starting): a row each, in words.

    Columns: what, at which load, candidate, figure, its interval, against the baseline.
    """
    rows = []
    for one in report.measurements:
        if one.probe not in _OTHERS or (one.probe == "execution" and not one.value):
            continue
        clients = one.conditions.get("clients")
        at = f"{clients} clients" if clients else str(one.conditions.get("rate", ""))
        share = one.unit == "share"
        shown = (
            f"{100 * one.value:.1f} %" if share else f"{digits(one.value)} {one.unit.replace('per_', '/')}"
        )
        interval = ""
        if one.interval is not None:
            interval = f"{digits(one.interval.low)} to {digits(one.interval.high)}"
        against = NONE if one.ratio is None else f"{digits(one.ratio)}x"
        what = (one.metric if share else one.metric.removesuffix(f"_{one.unit}")).replace("_", " ")
        rows.append([what, at, one.candidate, shown, interval, against])
    return rows


def when(report: Report) -> str:
    """The time of measuring, to the minute."""
    return f"{report.created[:16].replace('T', ' ')} UTC"


def machine(report: Report) -> Sequence[tuple[str, str]]:
    """Machine, GPU and versions, as pairs, then the machine's state before and after measuring."""
    pairs = sorted([*report.environment.items(), *devices.lines(report.device)])
    for when_, state in report.conditions:
        pairs += [(f"{what}, {when_.replace('_', ' ')}", found) for what, found in state.items()]
    return pairs
