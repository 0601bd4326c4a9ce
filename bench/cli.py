"""The verbs bench, report and gate: parse, one library call, render."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import baseline_verbs, outlet
from bench.candidates import specs as candidate_specs
from bench.candidates import split
from bench.damage import cli as damage_cli
from bench.options import (
    AllowChance,
    Budget,
    BudgetMinutes,
    HtmlFile,
    JsonFile,
    JunitFile,
    MarkdownFile,
    Shared,
    Summary,
)
from bench.outlet import Files
from compress import options, outputs
from compress.errors import RecipeError

_WHOLE = re.compile("[0-9]{1,9}")

if TYPE_CHECKING:
    from compress.recipe import BenchConfig, Named


def register(app: typer.Typer) -> None:
    """Add the verbs of this package to the root application."""
    app.command()(bench)
    app.command()(gate)
    app.command()(report)
    app.command()(damage_cli.damage)
    app.add_typer(baseline_verbs.app, name="baseline")


def load_probes(rate: str | None, concurrency: int | None) -> list[dict[str, Any]]:
    """The probes that ``--rate`` and ``--concurrency`` ask for."""
    asked: list[dict[str, Any]] = []
    if rate is not None:
        asked.append({"open-loop": {"rate": rate}})
    if concurrency is not None:
        asked.append({"closed-loop": {"clients": concurrency}})
    return asked


def _counted(parts: list[str]) -> list[int | str]:
    """The parts of an option, with whole numbers as such; what else there is the configuration judges."""
    return [int(part) if _WHOLE.fullmatch(part) else part for part in parts]


def _config(
    probes: str | None, load: list[dict[str, Any]], batch_sizes: str | None, lengths: str | None, **given: Any
) -> BenchConfig:
    from compress.recipe import BenchConfig, validate

    tree = {key: value for key, value in given.items() if value is not None}
    if probes is not None or load:
        from bench.session import default_probes

        named: list[Any] = split(probes, "--probes") if probes is not None else default_probes()
        tree["probes"] = [*named, *load]
    if batch_sizes is not None:
        tree["batch_sizes"] = _counted(split(batch_sizes, "--batch-sizes"))
    if lengths is not None:
        tree["lengths"] = _counted(split(lengths, "--lengths"))
    config: BenchConfig = validate(BenchConfig, tree, "bench")
    return config


def bench(
    candidates: Annotated[
        list[str],
        typer.Argument(help="Artifacts or model folders, or NAME=PATH; the last one is what ships."),
    ],
    data: Annotated[str, typer.Option("--data", help="Folder, file or hub id of the evaluation rows.")],
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    junit_file: JunitFile = None,
    budget: Budget = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="Candidate that ratios refer to; the first one when left out."),
    ] = None,
    probes: Annotated[
        str | None, typer.Option("--probes", help="Such as latency,accuracy; the defaults when left out.")
    ] = None,
    batch_sizes: Annotated[str | None, typer.Option("--batch-sizes", help="Such as 1,8.")] = None,
    lengths: Annotated[
        str | None, typer.Option("--lengths", help="Tokens, or 'data' for the rows' own mix: data,32,128.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=2, max=10_000, help="Interleaved rounds.")
    ] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, max=10_000, help="Timed runs a round and candidate.")
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option("--runtime", help="NAME=runtime:option=value, such as teacher=pytorch:mode=compiled."),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option("--rate", help="Open-loop load, such as 50/s: latency with queueing at that rate."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, max=1024, help="Closed-loop load by so many clients."),
    ] = None,
    budget_minutes: BudgetMinutes = 10.0,
    inconclusive: options.Inconclusive = None,
    summary: Summary = None,
    column: options.Columns = None,
    task: options.Task = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    shared: Shared = False,
    allow_chance: AllowChance = False,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    track: options.Track = None,
) -> None:
    """Measure models side by side: latency, accuracy, memory, size; judge them with --budget."""
    from rich.console import Console

    from bench import judge, terminal
    from bench import report as reports
    from bench.session import check

    files = Files(json_file, html_file, markdown_file, junit_file)
    gates: tuple[Named, ...] = judge.load_budget(budget) if budget else ()
    config = _config(
        probes,
        load_probes(rate, concurrency),
        batch_sizes,
        lengths,
        baseline=baseline,
        device=device,
        threads=threads,
        rounds=rounds,
        runs=runs,
        shared=shared or None,
        allow_chance=allow_chance or None,
    )
    check(config)
    rows = options.data_config(data, column, plays="eval")
    if rows is None:
        raise RecipeError("measuring needs evaluation rows: give --data")
    specs = candidate_specs(candidates, runtime or [], rows, task, store)
    found = outlet.measured(
        specs,
        rows,
        config,
        files,
        gates=gates,
        seed=seed,
        more_minutes=budget_minutes,
        inconclusive=inconclusive,
        track=track,
        summary=summary,
    )
    options.emit(reports.sealed(found), files.stdout, lambda: terminal.show(found, Console()))
    outlet.leave(found)


def gate(
    report_file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json that 'bench --json' wrote.")
    ],
    budget: Annotated[
        Path, typer.Option("--budget", help="YAML list of gates, such as '- size: {at_most: 25MB}'.")
    ],
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--report",
            parser=outputs.file,
            metavar="<path>",
            help="Write the report with these verdicts as JSON.",
        ),
    ] = None,
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    junit_file: JunitFile = None,
    inconclusive: options.Inconclusive = None,
    summary: Summary = None,
    as_json: options.Json = False,
) -> None:
    """Judge a report by a budget; measures nothing. Exit 0 passed, 3 failed, 4 inconclusive, 5 anomalous."""
    from rich.console import Console

    from bench import judge, step_summary, terminal
    from bench import report as reports

    found = reports.read(report_file, must_be_sealed=True)
    judged = judge.judge(found.model_copy(update={"inconclusive": inconclusive}), judge.load_budget(budget))
    json = str(json_file.absolute()) if json_file else None  # "-" is a file here
    Files(json, html_file, markdown_file, junit_file).write(judged)
    step_summary.append(judged, summary)
    options.emit(
        [verdict.model_dump(mode="json") for verdict in judged.verdicts],
        as_json,
        lambda: terminal.show_verdicts(judged, Console()),
    )
    outlet.leave(judged)


def report(
    report_file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json that 'bench --json' wrote.")
    ],
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    junit_file: JunitFile = None,
    as_json: options.Json = False,
) -> None:
    """Show a report, or write it as HTML, Markdown or JUnit."""
    from rich.console import Console

    from bench import report as reports
    from bench import terminal

    found = reports.read(report_file)
    written = Files(None, html_file, markdown_file, junit_file).write(found)

    def render() -> None:
        for path in written:
            sys.stdout.write(f"{path}\n")
        if not written:
            terminal.show(found, Console())

    payload = {"written": [str(path) for path in written], "report": reports.sealed(found)}
    options.emit(payload, as_json, render)
