"""The verb bench: measure models side by side."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress.errors import RecipeError
from paredown.verbs import _delivery, _options
from paredown.verbs._candidates import specs as candidate_specs
from paredown.verbs._candidates import split
from paredown.verbs._delivery import Files
from paredown.verbs._report_options import (
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

if TYPE_CHECKING:
    from compress.recipe import BenchConfig, Named

_WHOLE = re.compile("[0-9]{1,9}")


def load_probes(rate: str | None, concurrency: int | None) -> list[dict[str, Any]]:
    """The probes that ``--rate`` and ``--concurrency`` ask for."""
    probes: list[dict[str, Any]] = []
    if rate is not None:
        probes.append({"open-loop": {"rate": rate}})
    if concurrency is not None:
        probes.append({"closed-loop": {"clients": concurrency}})
    return probes


def _counted(parts: list[str]) -> list[int | str]:
    """The parts of an option, with whole numbers as such; what else there is the configuration judges."""
    return [int(part) if _WHOLE.fullmatch(part) else part for part in parts]


def _config(
    probes: str | None,
    load: list[dict[str, Any]],
    batch_sizes: str | None,
    lengths: str | None,
    **settings: Any,
) -> BenchConfig:
    from compress.recipe import BenchConfig, validate

    tree = {key: value for key, value in settings.items() if value is not None}
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
    inconclusive: _options.Inconclusive = None,
    summary: Summary = None,
    column: _options.Columns = None,
    task: _options.Task = None,
    seed: _options.Seed = None,
    device: _options.Device = "cpu",
    shared: Shared = False,
    allow_chance: AllowChance = False,
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    track: _options.Track = None,
) -> None:
    """Measure models side by side: latency, accuracy, memory, size; judge them with --budget."""
    from rich.console import Console

    from bench.record import document as reports
    from bench.report import terminal
    from bench.session import check
    from bench.verdicts import judge

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
    rows = _options.data_config(data, column, plays="eval")
    if rows is None:
        raise RecipeError("measuring needs evaluation rows: give --data")
    specs = candidate_specs(candidates, runtime or [], rows, task, store)
    report = _delivery.measured(
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
    _options.emit(reports.sealed(report), files.stdout, lambda: terminal.show(report, Console()))
    _delivery.leave(report)
