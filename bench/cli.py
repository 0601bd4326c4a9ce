"""The verbs bench, report and gate: parse, one library call, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench import baseline_verbs
from bench.candidates import specs as candidate_specs
from bench.candidates import split
from bench.damage import cli as damage_cli
from compress import options
from compress.errors import RecipeError

if TYPE_CHECKING:
    from bench.record import Report
    from compress.recipe import BenchConfig, Named

_STDOUT = "-"

Budget = Annotated[
    Path | None, typer.Option("--budget", help="YAML list of gates, such as '- size: {at_most: 25MB}'.")
]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write one HTML file with plots.")]
MarkdownFile = Annotated[Path | None, typer.Option("--markdown", help="Write Markdown.")]
JunitFile = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML: one test case a gate.")]
Summary = Annotated[
    bool | None,
    typer.Option(
        "--summary/--no-summary",
        help="Append Markdown to $GITHUB_STEP_SUMMARY; done where that is set, unless --no-summary.",
        show_default=False,
    ),
]


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
        tree["batch_sizes"] = split(batch_sizes, "--batch-sizes")
    if lengths is not None:
        parts = split(lengths, "--lengths")
        tree["lengths"] = [int(part) if part.isdigit() else part for part in parts]
    config: BenchConfig = validate(BenchConfig, tree, "bench")
    return config


def _leave(report: Report) -> None:
    from bench import judge

    raise typer.Exit(judge.exit_code(report.verdicts, report.inconclusive))


def bench(
    candidates: Annotated[
        list[str],
        typer.Argument(help="Artifacts or model folders, or NAME=PATH; the last one is what ships."),
    ],
    data: Annotated[str, typer.Option("--data", help="Folder, file or hub id of the evaluation rows.")],
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the report as JSON; '-' is stdout, and nothing else."
        ),
    ] = None,
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
    rounds: Annotated[int | None, typer.Option("--rounds", min=2, help="Interleaved rounds.")] = None,
    runs: Annotated[
        int | None, typer.Option("--runs", min=1, help="Timed runs a round and candidate.")
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
        int | None, typer.Option("--concurrency", min=1, help="Closed-loop load by so many clients.")
    ] = None,
    budget_minutes: Annotated[
        float,
        typer.Option("--budget-minutes", min=0, help="To measure more in, while a verdict is inconclusive."),
    ] = 10.0,
    inconclusive: options.Inconclusive = None,
    summary: Summary = None,
    column: options.Columns = None,
    task: options.Task = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    shared: Annotated[
        bool, typer.Option("--shared", help="Measure on a GPU that others use; the report says so.")
    ] = False,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    track: options.Track = None,
) -> None:
    """Measure models side by side: latency, accuracy, memory, size; judge them with --budget."""
    from rich.console import Console

    from bench import judge, step_summary, terminal, tracking
    from bench import report as reports
    from bench.session import check, measure
    from compress.artifact import Artifact

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
    )
    check(config)
    rows = options.data_config(data, column, plays="eval")
    if rows is None:
        raise RecipeError("measuring needs evaluation rows: give --data")
    specs = candidate_specs(candidates, runtime or [], rows, task, store)
    with tracking.following(track or (), specs[-1].name, config.model_dump(mode="json")) as trackers:
        for spec in specs:
            trackers.sealed(spec.name, Artifact.open(spec.path, verify=False))
        found = measure(
            specs,
            rows,
            config,
            seed=seed or 0,
            gates=gates,
            more_minutes=budget_minutes,
            inconclusive=inconclusive,
        )
        files = _write(
            found, None if json_file == _STDOUT else json_file, html_file, markdown_file, junit_file
        )
        trackers.finished(found, files, None)
    step_summary.append(found, summary)
    options.emit(reports.sealed(found), json_file == _STDOUT, lambda: terminal.show(found, Console()))
    _leave(found)


def _write(
    found: Report,
    json_file: str | None,
    html_file: Path | None,
    markdown_file: Path | None,
    junit_file: Path | None,
) -> list[Path]:
    from bench import report as reports

    written = []
    if json_file is not None:
        written.append(Path(json_file))
        reports.write(written[-1], reports.to_json(found))
    if html_file is not None:
        from bench import html

        written.append(html_file)
        reports.write(html_file, html.page(found))
    for path, render in ((markdown_file, reports.markdown), (junit_file, reports.junit)):
        if path is not None:
            written.append(path)
            reports.write(path, render(found))
    return written


def gate(
    report_file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json that 'bench --json' wrote.")
    ],
    budget: Annotated[
        Path, typer.Option("--budget", help="YAML list of gates, such as '- size: {at_most: 25MB}'.")
    ],
    json_file: Annotated[
        Path | None, typer.Option("--report", help="Write the report with these verdicts as JSON.")
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
    _write(judged, str(json_file) if json_file else None, html_file, markdown_file, junit_file)
    step_summary.append(judged, summary)
    options.emit(
        [verdict.model_dump(mode="json") for verdict in judged.verdicts],
        as_json,
        lambda: terminal.show_verdicts(judged, Console()),
    )
    _leave(judged)


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
    written = _write(found, None, html_file, markdown_file, junit_file)

    def render() -> None:
        for path in written:
            sys.stdout.write(f"{path}\n")
        if not written:
            terminal.show(found, Console())

    payload = {"written": [str(path) for path in written], "report": reports.sealed(found)}
    options.emit(payload, as_json, render)
