"""A report as Markdown, the verdict first."""

from __future__ import annotations

from bench.record.model import Report, Verdict
from bench.report import cards, caveats, device_tables, summary
from bench.report.damage import brief, tables


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _rows(header: list[str], rows: list[list[str]], right: int) -> str:
    """A Markdown table; columns from ``right`` on are aligned right."""
    rule = ["---" if index < right else "---:" for index in range(len(header))]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in (header, rule, *rows))


def table(report: Report) -> str:
    """The candidates as a Markdown table: before, each step, after."""
    metric = summary.main_metric(report) or "score"
    rows = []
    for line in summary.lines(report):
        base = line.name == report.baseline
        faster = summary.speedup(line.p50)
        interval = summary.times_interval(faster)
        change, spread = summary.change(line.score), summary.change_interval(line.score)
        rows.append(
            [
                line.name,
                line.runtime,
                summary.score(line.score),
                "baseline" if base else f"{change} ({spread})" if spread else change,
                summary.time(line.p50),
                summary.time(line.p95),
                "1x"
                if base and faster
                else f"{summary.times(faster)} ({interval})"
                if interval
                else summary.times(faster),
                summary.memory(line.memory.value) if line.memory else summary.NONE,
                summary.size(line.size.value) if line.size else summary.NONE,
            ]
        )
    header = [
        "candidate",
        "runtime",
        metric,
        "change (95 %)",
        "p50",
        "p95",
        "speed-up (95 %)",
        "peak memory",
        "size",
    ]
    return _rows(header, rows, right=2)


def _latencies(report: Report) -> str:
    rows = []
    for point in summary.grid(report):
        for candidate in report.candidates:
            found = {q: report.find(candidate.name, f"latency_p{q}_ms", **point) for q in (50, 95, 99)}
            rate = report.find(candidate.name, "throughput_rows_per_s", **point)
            rows.append(
                [
                    summary.where(point),
                    candidate.name,
                    *(summary.time(one) for one in found.values()),
                    summary.times(summary.speedup(found[50])),
                    f"{summary.digits(rate.value)} rows/s" if rate else summary.NONE,
                ]
            )
    return _rows(["where", "candidate", "p50", "p95", "p99", "speed-up", "throughput"], rows, right=2)


def _verdict_row(verdict: Verdict) -> list[str]:
    return [verdict.status, verdict.gate, verdict.candidate, verdict.limit, verdict.reason]


def _cards(report: Report) -> str:
    """The deciding figures as a list."""
    return "\n".join(
        f"- {_cell(card.title)}: **{card.value}** ({_cell(card.words)})" for card in cards.cards(report)
    )


def _damage(report: Report) -> list[str]:
    """What became worse, in sentences and two small tables; rows are in the page and in the JSON."""
    found = brief.of(report)
    if found is None:
        return []
    parts = ["## What got worse"]
    parts.append("\n".join(f"- {_cell(title)}: {_cell(said)}" for title, said in found.sentences))
    if found.slices:
        parts += ["The worst slices:", _rows(found.header, found.slices, right=1)]
    if found.steps:
        parts += ["Step by step:", _rows(tables.STEP_HEADER, found.steps, right=1)]
    return parts


def page(report: Report) -> str:
    """The report as Markdown, the verdict first."""
    parts = [f"# {_cell(report.title)}", f"**{_cell(summary.headline(report))}**"]
    parts += [_cards(report), table(report)]
    parts.append("\n".join(f"- {_cell(sentence)}" for sentence in caveats.sentences(report)))
    if report.verdicts:
        rows = [_verdict_row(verdict) for verdict in report.verdicts]
        parts += ["## Gates", _rows(["status", "gate", "candidate", "limit", "reason"], rows, right=5)]
    parts += _damage(report)
    if summary.grid(report):
        parts += ["## Latency", _latencies(report)]
    others = summary.others(report)
    if others:
        header = ["what", "load", "candidate", "figure", "95 %", "of the baseline"]
        parts += ["## Load, execution and starting", _rows(header, others, right=3)]
    for shown in device_tables.tables(report):
        parts += [f"## {shown.title}", _rows(shown.header, shown.rows, right=shown.left)]
    answers = summary.answers(report)
    if answers:
        parts.append("\n".join(f"- {_cell(answer)}" for answer in answers))
    parts += ["## What was measured", "\n\n".join(_cell(said) for said in summary.explanation(report))]
    notes = summary.notes(report)
    if notes:
        parts += ["## Notes", "\n".join(f"- {_cell(note)}" for note in notes)]
    parts += [
        "## Machine",
        _rows(["what", "found"], [[key, value] for key, value in summary.machine(report)], right=2),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
