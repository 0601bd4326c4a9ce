"""The verb baseline: save, compare and list stored reports of this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.verbs import _options, _rendering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.record.model import Report
    from bench.verdicts.baselines import Listed

_MAIN = "main"
app = typer.Typer(
    name="baseline",
    help="Keep reports by machine and compare later ones with them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ReportFile = Annotated[
    Path, typer.Argument(metavar="REPORT", help="A report.json that 'bench --json' wrote.")
]
Name = Annotated[str, typer.Option("--name", help="Of the baseline, such as main or release-1.2.")]


def print_line(text: str) -> None:
    """A line on stdout."""
    sys.stdout.write(f"{text}\n")


@app.command()
def save(
    report_file: ReportFile,
    to: Annotated[str, typer.Option("--to", help="A folder, or git:BRANCH of this repository.")],
    name: Name = _MAIN,
    first: Annotated[
        bool, typer.Option("--first", help="Only where this machine has none yet and no gate failed.")
    ] = False,
    as_json: _options.Json = False,
) -> None:
    """Keep a report as the baseline of the machine that measured it."""
    from bench.record import document as reports
    from bench.verdicts import baselines
    from compress import log

    report = reports.read(report_file, must_be_sealed=True)
    path, reason = baselines.first(report, to, name) if first else (baselines.save(report, to, name), "kept")
    if path is None:
        log.warning("%s", reason)
    _options.emit(
        {"path": path, "reason": reason}, as_json, lambda: print_line(f"{to}/{path}") if path else None
    )


def _gates(report: Report, place: str, name: str, worse_by: str, lost: str) -> list[Any]:
    """A regression gate for what a release is held to: what has a card on the report's first screen."""
    from bench.report import summary
    from bench.verdicts import regression
    from compress.recipe import Named

    wanted: list[dict[str, Any]] = []
    for metric, figure in sorted(summary.figures(report).items(), key=lambda one: one[1].rank):
        found = report.find(summary.shipped(report), metric) if figure.card else None
        if found is None:
            continue
        limit = lost if regression.in_points(found) else worse_by
        points = [{"at": point} for point in summary.grid(report)] if figure.grid else [{}]
        wanted += [{"metric": metric, **point, "worse_by_at_most": limit} for point in points]
    return [Named(name="regression", options={"baseline": place, "name": name, **one}) for one in wanted]


@app.command()
def compare(
    report_file: ReportFile,
    where: Annotated[str, typer.Option("--from", help="A folder, git:BRANCH, or a report file.")],
    name: Name = _MAIN,
    worse_by: Annotated[
        str, typer.Option("--worse-by", help="Time, size and memory may grow by this much.")
    ] = "5%",
    lost: Annotated[str, typer.Option("--lost", help="Points that the main metric may lose.")] = "1pt",
    inconclusive: _options.Inconclusive = None,
    as_json: _options.Json = False,
) -> None:
    """Judge what got worse since the baseline of this machine. Exit 0, 3, 4 or 5 as for 'gate'."""
    from rich.console import Console

    from bench.record import document as reports
    from bench.report import terminal
    from bench.verdicts import judge

    found = reports.read(report_file, must_be_sealed=True)
    judged = judge.judge(
        found.model_copy(update={"inconclusive": inconclusive}), _gates(found, where, name, worse_by, lost)
    )
    _options.emit(
        [verdict.model_dump(mode="json") for verdict in judged.verdicts],
        as_json,
        lambda: terminal.show_verdicts(judged, Console()),
    )
    raise typer.Exit(judge.exit_code(judged.verdicts, inconclusive))


def _here(found: Sequence[Listed]) -> set[str]:
    """The fingerprints under which reports of this machine are filed: with no GPU, and with each of its own.

    GPUs are asked only where a baseline was measured on one: that takes a context on each.
    """
    from bench.machine import devices
    from bench.verdicts import baselines
    from compress import environment

    described = environment.describe()
    machines = [described]
    if any("gpu" in one.report.environment for one in found):
        machines += [{**described, **one} for one in devices.identities()]
    return {baselines.fingerprint(one)[:16] for one in machines}


@app.command("list")
def list_(
    where: Annotated[str, typer.Option("--from", help="A folder, or git:BRANCH.")],
    as_json: _options.Json = False,
) -> None:
    """List the stored baselines, those of this machine first."""
    from rich.table import Table

    from bench.report import summary
    from bench.verdicts import baselines

    stored = baselines.stored(where)
    here = _here(stored)
    found = sorted(stored, key=lambda one: (one.fingerprint not in here, one.fingerprint, one.name))
    rows = [
        {
            "name": one.name,
            "machine": one.fingerprint,
            "here": one.fingerprint in here,
            "what": baselines.machine(one.report.environment),
            "title": one.report.title,
            "created": one.report.created,
        }
        for one in found
    ]

    def render() -> None:
        table = Table("name", "machine", "measured", "title", box=None, pad_edge=False)
        for one in found:
            known = one.report.environment
            mine = "this one" if one.fingerprint in here else one.fingerprint
            parts = [known.get("cpu", "an unnamed processor")] if one.fingerprint not in here else []
            said = ", ".join([*parts, *([known["gpu"]] if "gpu" in known else [])])
            table.add_row(
                one.name, f"{mine} ({said})" if said else mine, summary.when(one.report), one.report.title
            )
        _rendering.console().print(table if found else f"{where} holds no baseline.")

    _options.emit(rows, as_json, render)
