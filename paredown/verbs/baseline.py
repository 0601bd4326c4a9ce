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

    settings: list[dict[str, Any]] = []
    for metric, figure in sorted(summary.figures(report).items(), key=lambda pair: pair[1].rank):
        measurement = report.find(summary.shipped(report), metric) if figure.card else None
        if measurement is None:
            continue
        limit = lost if regression.in_points(measurement) else worse_by
        points = [{"at": point} for point in summary.grid(report)] if figure.grid else [{}]
        settings += [{"metric": metric, **point, "worse_by_at_most": limit} for point in points]
    return [
        Named(name="regression", options={"baseline": place, "name": name, **setting}) for setting in settings
    ]


@app.command()
def compare(
    report_file: ReportFile,
    location: Annotated[str, typer.Option("--from", help="A folder, git:BRANCH, or a report file.")],
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

    report = reports.read(report_file, must_be_sealed=True)
    judged = judge.judge(
        report.model_copy(update={"inconclusive": inconclusive}),
        _gates(report, location, name, worse_by, lost),
    )
    _options.emit(
        [verdict.model_dump(mode="json") for verdict in judged.verdicts],
        as_json,
        lambda: terminal.show_verdicts(judged, Console()),
    )
    raise typer.Exit(judge.exit_code(judged.verdicts, inconclusive))


def _here(listed: Sequence[Listed]) -> set[str]:
    """The fingerprints under which reports of this machine are filed: with no GPU, and with each of its own.

    GPUs are asked only where a baseline was measured on one: that takes a context on each.
    """
    from bench.machine import devices
    from bench.verdicts import baselines
    from compress import environment

    described = environment.describe()
    machines = [described]
    if any("gpu" in entry.report.environment for entry in listed):
        machines += [{**described, **identity} for identity in devices.identities()]
    return {baselines.fingerprint(machine)[:16] for machine in machines}


@app.command("list")
def list_(
    location: Annotated[str, typer.Option("--from", help="A folder, or git:BRANCH.")],
    as_json: _options.Json = False,
) -> None:
    """List the stored baselines, those of this machine first."""
    from rich.table import Table

    from bench.report import summary
    from bench.verdicts import baselines

    stored = baselines.stored(location)
    fingerprints = _here(stored)
    ordered = sorted(
        stored, key=lambda entry: (entry.fingerprint not in fingerprints, entry.fingerprint, entry.name)
    )
    rows = [
        {
            "name": entry.name,
            "machine": entry.fingerprint,
            "here": entry.fingerprint in fingerprints,
            "what": baselines.machine(entry.report.environment),
            "title": entry.report.title,
            "created": entry.report.created,
        }
        for entry in ordered
    ]

    def render() -> None:
        table = Table("name", "machine", "measured", "title", box=None, pad_edge=False)
        for entry in ordered:
            facts = entry.report.environment
            mine = "this one" if entry.fingerprint in fingerprints else entry.fingerprint
            parts = (
                [facts.get("cpu", "an unnamed processor")] if entry.fingerprint not in fingerprints else []
            )
            description = ", ".join([*parts, *([facts["gpu"]] if "gpu" in facts else [])])
            table.add_row(
                entry.name,
                f"{mine} ({description})" if description else mine,
                summary.when(entry.report),
                entry.report.title,
            )
        _rendering.console().print(table if ordered else f"{location} holds no baseline.")

    _options.emit(rows, as_json, render)
