"""The verb damage: parse, measure with the damage probes, render."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from compress.errors import RecipeError
from paredown.verbs import _delivery, _options
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
    from compress.recipe import Named


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
        int, typer.Option("--rows", min=0, max=10**5, help="Rows to list of each kind; 0 keeps texts out.")
    ] = 100,
    cases: Annotated[
        int, typer.Option("--cases", min=2, max=10**7, help="Cases of each set, and rows to change, at most.")
    ] = 2000,
    json_file: JsonFile = None,
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    junit_file: JunitFile = None,
    budget: Budget = None,
    speed: Annotated[
        bool,
        typer.Option(
            "--speed/--no-speed", help="Measure latency and memory, too; leave them out for a quick look."
        ),
    ] = True,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="NAME=runtime:option=value; see 'bench'.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=65_536, help="Rows at once while answers are compared.")
    ] = 16,
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
    """Say what compression won and broke: speed, flipped answers, worst slices, confidence, robustness."""
    from rich.console import Console

    from bench import damage as plan
    from bench.record import document as reports
    from bench.report.damage import markdown, terminal
    from bench.verdicts import judge
    from compress.artifacts.artifact import Artifact
    from compress.recipe import BenchConfig
    from paredown.verbs._candidates import open_specs, parse_candidate

    files = Files(json_file, html_file, markdown_file, junit_file, render=markdown.page)
    gates: tuple[Named, ...] = judge.load_budget(budget) if budget else ()
    evaluation = _options.data_config(data, column, plays="eval")
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
        speed=speed,
        batch_size=batch_size,
    )
    probes = plan.probes(Artifact.open(specs[0].path, verify=False), wishes, evaluation)
    config = BenchConfig(
        probes=probes,
        baseline=named[0][0],
        device=device,
        threads=threads,
        shared=shared,
        allow_chance=allow_chance,
    )
    report = _delivery.measured(
        specs,
        evaluation,
        config,
        files,
        gates=gates,
        seed=seed,
        title=f"What changed from {named[0][0]} to {named[1][0]}",
        more_minutes=budget_minutes,
        inconclusive=inconclusive,
        track=track,
        summary=summary,
    )
    _options.emit(reports.sealed(report), files.stdout, lambda: terminal.show(report, Console()))
    _delivery.leave(report)
