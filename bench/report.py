"""A report on disk: sealed JSON that can be read back, Markdown, JUnit; the HTML is in ``bench.html``.

The seal is that of ``compress.seal``.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pydantic import ValidationError

from bench import cards, caveats, coherence, device_tables, html, summary, xml_text
from bench.damage import brief, tables
from bench.record import SCHEMA, Report, Verdict
from compress import seal
from compress.errors import UserError
from compress.reading import files, json_values, utf8

JSON, HTML, MARKDOWN, JUNIT = "report.json", "report.html", "report.md", "junit.xml"
FILES = (JSON, HTML, MARKDOWN, JUNIT)

_GIVE = "give a file that 'paredown bench --json' wrote"


def sealed(report: Report) -> dict[str, Any]:
    """The report as a JSON tree with its seal."""
    return seal.sealed(json.loads(report.model_dump_json()))


def to_json(report: Report) -> str:
    """The report as sealed JSON text, which ``from_json`` reads back."""
    return json.dumps(sealed(report), indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, where: str, *, must_be_sealed: bool = False) -> Report:
    """A report from its JSON text; the seal is checked, and its absence said.

    Args:
        text: the JSON.
        where: it comes from, for messages.
        must_be_sealed: refuse a report without a seal, as whoever judges by it or keeps it must: without
            that, taking the checksum out would be all that an edit needs.

    Raises:
        UserError: it is no report, edited, damaged, of another version, or lacks the seal that it must have.
    """
    tree = json_values.parse(text, f"{where} is not a paredown report, or it is damaged")
    try:
        found = Report.model_validate(seal.broken(tree) if isinstance(tree, dict) else tree)
    except ValidationError as cause:
        first = cause.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        if first["loc"] == ("schema_version",):
            raise UserError(
                f"{where} is a report of schema version {first['input']}; this paredown reads version "
                f"{SCHEMA}: measure again with 'paredown bench'"
            ) from cause
        at = f" at '{place}'" if place else ""
        raise UserError(
            f"{where} is not a paredown report, or it is damaged ({first['msg']}{at}): {_GIVE}"
        ) from cause
    seal.check(tree, where, must_be_sealed=must_be_sealed)
    coherence.check(found, where)
    return found


def read(path: Path, *, must_be_sealed: bool = False) -> Report:
    """A report from a JSON file.

    Args:
        path: of the file.
        must_be_sealed: as for ``from_json``.

    Raises:
        UserError: the file cannot be read, is no report of this version, or lacks the seal that it must have.
    """
    content = files.read_bytes(path, limit=utf8.LIMIT)
    text = utf8.decode(content, f"{files.shown(path)} is not a paredown report")
    return from_json(text, files.shown(path), must_be_sealed=must_be_sealed)


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


def markdown(report: Report) -> str:
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


def junit(report: Report) -> str:
    """The verdicts as JUnit XML: one test case a gate; a failure carries the reason.

    An inconclusive one is skipped, and a failure where it was told to count as one; the message says so.
    """
    kinds = {"fail": "failure", "anomalous": "error", "inconclusive": "skipped"}
    if report.inconclusive == "fail":
        kinds["inconclusive"] = "failure"
    shown = [kinds.get(verdict.status) for verdict in report.verdicts]
    told = summary.counts_as(report.inconclusive)
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=xml_text.clean(f"paredown gates: {report.title}"),
        tests=str(len(shown)),
        failures=str(shown.count("failure")),
        errors=str(shown.count("error")),
        skipped=str(shown.count("skipped")),
        timestamp=report.created,
    )
    for verdict, kind in zip(report.verdicts, shown, strict=True):
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=xml_text.clean(verdict.candidate),
            name=xml_text.clean(f"{verdict.gate} {verdict.metric} {verdict.limit}"),
        )
        reason = verdict.reason
        if verdict.status == "inconclusive":
            reason = f"inconclusive{', ' if told else ''}{told}: {reason}"
        if kind is not None:
            ElementTree.SubElement(case, kind, message=xml_text.clean(reason))
        else:
            ElementTree.SubElement(case, "system-out").text = xml_text.clean(reason)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def write(path: Path, text: str) -> None:
    """Write a text so that it is there whole or not at all.

    Raises:
        UserError: there is no place to write it.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as cause:
        raise UserError(f"{path} cannot be written: {cause.strerror}") from cause
    finally:
        with suppress(OSError):  # moved into place, or it may never have come to be
            temporary.unlink()


def write_all(report: Report, folder: Path) -> None:
    """Write JSON, HTML, Markdown and JUnit into a folder."""
    for name, text in (
        (JSON, to_json(report)),
        (HTML, html.page(report)),
        (MARKDOWN, markdown(report)),
        (JUNIT, junit(report)),
    ):
        write(folder / name, text)
