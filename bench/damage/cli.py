"""The verb damage: parse, measure with the damage probes, render."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compress import options
from compress.errors import RecipeError

if TYPE_CHECKING:
    from compress.recipe import Named

_STDOUT = "-"


def damage(
    original: Annotated[str, typer.Argument(help="Artifact, model folder or hub id, or NAME=PATH.")],
    candidate: Annotated[str, typer.Argument(help="What was made of it, or NAME=PATH.")],
    data: Annotated[str, typer.Option("--data", help="Folder or hub id of labeled evaluation rows.")],
    challenge: Annotated[
        list[str] | None,
        typer.Option("--challenge", help="Challenge set: labeled rows, contrast pairs or CheckList; repeat."),
    ] = None,
    slice_: Annotated[
        list[str] | None, typer.Option("--slice", help="Column of the rows to cut by; repeat.")
    ] = None,
    groups: Annotated[
        str | None, typer.Option("--groups", help="Column that names each row's group of people.")
    ] = None,
    templates: Annotated[
        list[str] | None,
        typer.Option("--templates", help="Sentences that differ in the group alone; repeat."),
    ] = None,
    rows: Annotated[
        int, typer.Option("--rows", min=0, help="Rows to list of each kind; 0 keeps all texts out.")
    ] = 100,
    cases: Annotated[
        int, typer.Option("--cases", min=2, help="Cases of each set, and rows to change, at most.")
    ] = 2000,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE", help="Write the report as JSON; '-' is stdout, and nothing else."
        ),
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", help="Write one HTML file with plots and the rows.")
    ] = None,
    markdown_file: Annotated[Path | None, typer.Option("--markdown", help="Write Markdown.")] = None,
    budget: Annotated[
        Path | None, typer.Option("--budget", help="YAML list of gates, such as '- harmful-flips: ...'.")
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="NAME=runtime:option=value; see 'bench'.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Rows at once.")] = 16,
    column: options.Columns = None,
    task: options.Task = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
) -> None:
    """Say what compression broke: flipped answers, worst slices, confidence, robustness, fairness."""
    from rich.console import Console

    from bench import html, judge
    from bench import report as reports
    from bench.candidates import open_specs, parse_candidate
    from bench.damage import markdown, plan, terminal
    from bench.session import measure
    from compress.artifact import Artifact
    from compress.recipe import BenchConfig

    gates: tuple[Named, ...] = judge.load_budget(budget) if budget else ()
    evaluation = options.data_config(data, column, plays="eval")
    if evaluation is None:
        raise RecipeError("finding damage needs labeled evaluation rows: give --data")
    named = [parse_candidate(text) for text in (original, candidate)]
    if named[0][0] == named[1][0]:
        named = [(name, place) for name, (_, place) in zip(("original", "candidate"), named, strict=True)]
    specs = open_specs(named, runtime or [], evaluation, task, store)
    wishes = plan.Wishes(
        rows=rows,
        cases=cases,
        columns=tuple(slice_ or ()),
        sets=tuple(challenge or ()),
        groups=groups,
        templates=tuple(templates or ()),
    )
    probes = plan.probes(Artifact.open(specs[0].path, verify=False), wishes, evaluation)
    config = BenchConfig(
        probes=probes, baseline=named[0][0], batch_sizes=(batch_size,), device=device, threads=threads
    )
    title = f"What changed from {named[0][0]} to {named[1][0]}"
    report = measure(specs, evaluation, config, seed=seed or 0, gates=gates, title=title)
    if json_file is not None and json_file != _STDOUT:
        reports.write(Path(json_file), reports.to_json(report))
    for path, render in ((html_file, html.page), (markdown_file, markdown.page)):
        if path is not None:
            reports.write(path, render(report))
    options.emit(reports.sealed(report), json_file == _STDOUT, lambda: terminal.show(report, Console()))
    raise typer.Exit(judge.exit_code(report.verdicts))
