"""A report in the terminal: what stands where, and what gives way where there is little room."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import tiny_bench
from rich.console import Console

from bench.display import parts
from bench.record.model import Flags, Report
from bench.report import html, markdown, terminal
from bench.verdicts import judge
from compress.recipe import Named

GATES = [
    Named(name="size", options={"at_most": "10MB"}),
    Named(name="accuracy-drop", options={"at_most": "2pt"}),
    Named(name="latency", options={"speedup_at_least": "3.2x"}),
]


def shown(report: Report, width: int) -> list[str]:
    """The lines that a terminal of a width shows."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        terminal.show(report, console)
    return captured.get().splitlines()


def renamed(name: str) -> Report:
    """The hand-made report with another name for what ships."""
    text = tiny_bench.report().model_dump_json(exclude={"conditions"})  # its "after" is no candidate
    return Report.model_validate_json(text.replace('"after"', json.dumps(name)))


def more(**figure: Any) -> Report:
    """The hand-made report with one more latency of what ships."""
    defaults = {"probe": "latency", "unit": "ms", "conditions": {"batch_size": 1, "length": "data"}}
    extra = tiny_bench.measurement("after", figure.pop("metric"), 2.5, **{**defaults, **figure})
    return tiny_bench.report(measurements=(*tiny_bench.report().measurements, extra))


def test_before_after_and_the_verdict() -> None:
    """One row a candidate with the figures that decide, then a line a gate and the overall one."""
    lines = shown(judge.judge(tiny_bench.report(), GATES), 120)
    assert lines[0] == "Latency at batch 1, real rows, candidates in turns:"
    assert re.search(
        r"before\s+92\.00 %\s+baseline\s+8\.00 ms\s+10\.0 ms\s+1x\s+200 MiB\s+80\.0 MB", lines[2]
    )
    assert re.search(
        r"after\s+91\.00 %\s+-1\.00 pt\s+2\.00 ms\s+3\.00 ms\s+4\.00x\s+50 MiB\s+20\.0 MB", lines[3]
    )
    assert lines[4] == (
        "before: 1 of 100 evaluation rows (1.00 %) was cut to 64 tokens (the model's own limit)"
    )
    assert lines[5].startswith("after: 4 of 100 evaluation rows (4.00 %) were cut to 16 tokens (the limit of")
    assert "'before' sees more of 3 of them" in lines[5]
    assert lines[6].strip() == "fail  size (after): 20.00 MB on disk; allowed: at most 10MB"
    assert lines[-1] == "after: FAILED 1 of 3 gates (size)"


def test_a_name_with_brackets_is_no_markup() -> None:
    """Rich's own markup in a name is shown, not obeyed."""
    assert any("[red]x[/red]" in line for line in shown(renamed("[red]x[/red]"), 120))


def test_the_table_of_points_says_only_what_is_new() -> None:
    """At the one point that the first table shows, figures of the second are those that the first lacks."""
    assert not any("Latency and throughput" in line for line in shown(tiny_bench.report(), 120))
    lines = shown(more(metric="latency_p99_ms"), 120)
    place = next(index for index, line in enumerate(lines) if "Latency and throughput" in line)
    assert lines[place + 1].split() == ["where", "candidate", "p99"]
    assert lines[place + 2].split() == ["batch", "1,", "real", "rows", "before", "-"]
    assert lines[place + 3].split() == ["batch", "1,", "real", "rows", "after", "2.50", "ms"]


def test_a_second_point_brings_the_whole_table_of_points() -> None:
    """Figures at several points stand side by side, the first point's among them."""
    lines = shown(more(metric="latency_p50_ms", conditions={"batch_size": 8, "length": "data"}), 120)
    assert [line.split()[:6] for line in lines if "real rows  " in line] == [
        ["batch", "1,", "real", "rows", "before", "8.00"],
        ["batch", "1,", "real", "rows", "after", "2.00"],
        ["batch", "8,", "real", "rows", "after", "2.50"],
    ]


def test_flags_stand_though_their_figures_are_repeated() -> None:
    """A run that counts for nothing is said, also where the first table has its figures."""
    report = tiny_bench.report()
    spoiled = tuple(
        measurement.model_copy(update={"flags": Flags(unstable=True)})
        if (measurement.metric, measurement.candidate) == ("latency_p50_ms", "after")
        else measurement
        for measurement in report.measurements
    )
    lines = shown(report.model_copy(update={"measurements": spoiled}), 120)
    assert [line.split()[-1] for line in lines if "real rows  " in line] == ["-", "unstable"]


@pytest.mark.parametrize("name", ["export-onnx", "quantize-onnx", "quantize-onnx-2"])
def test_a_stages_name_is_whole_in_80_characters(name: str) -> None:
    """The titles of figures give way first: every name and every figure is whole, and no line is longer."""
    lines = shown(renamed(name), 80)
    row = next(line for line in lines if line.startswith(name))
    assert re.split(r"\s{2,}", row) == [
        name,
        "91.00 %",
        "-1.00 pt",
        "2.00 ms",
        "3.00 ms",
        "4.00x",
        "50 MiB",
        "20.0 MB",
    ]
    assert len(row) <= 80
    assert next(line for line in lines if "peak" in line).split() == ["speed-", "peak"]


@pytest.mark.parametrize("width", [30, 40, 60])
def test_names_outlast_figures_in_a_narrow_terminal(width: int) -> None:
    """Words wrap at spaces and figures are cut before a name is broken."""
    content = parts.table("", ["candidate", "p50"], [["a-very-long-candidate", "8.00 milliseconds a row"]])
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(terminal.table(content, width))
    lines = captured.get().splitlines()
    assert any(line.startswith("a-very-long-candidate  ") for line in lines)
    assert all(len(line.rstrip()) <= width for line in lines)
    if width < 60:
        assert "…" in lines[-1]


def test_what_flags_say_stands_at_the_left_everywhere() -> None:
    """Words are aligned left and figures right, in the terminal, in Markdown and on the page."""
    report = more(metric="latency_p99_ms", flags=Flags(unstable=True, saturated=True))
    lines = shown(report, 120)
    title, row = (next(line for line in lines if word in line) for word in ("flags", "saturated"))
    assert title.index("flags") == row.index("unstable, saturated")
    assert "| --- | --- | ---: | ---: | ---: | ---: | --- |" in markdown.page(report)
    assert '<th scope="col">speed-up</th><th scope="col" class="left">flags</th>' in html.page(report)
    assert '<td class="left">unstable, saturated</td>' in html.page(report)
