"""The verb plan: what a run would do."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from paredown.verbs import _options, _rendering
from paredown.verbs._recipe import chosen_recipe


def plan(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder, artifact or hub id.")] = None,
    data: _options.Data = None,
    column: _options.Columns = None,
    limit: _options.Limit = None,
    task: _options.Task = None,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Say what 'run' would do and what the store already has; touches nothing."""
    from compress.pipeline import planning
    from paredown import workflow

    chosen = chosen_recipe(recipe, model, data, column, set_, seed, task, limit)
    workflow.check(chosen, runs_here=False)
    steps = planning.plan(chosen, _options.store(store))

    def render() -> None:
        table = Table("stage", "from", "state", "time", "disk", "estimated from", box=None, pad_edge=False)
        for step in steps:
            table.add_row(
                step.label,
                step.source or "",
                "in the store" if step.ready else "to do",
                "" if step.ready else _rendering.seconds(step.seconds),
                "" if step.ready else _rendering.megabytes(step.bytes),
                "" if step.ready else step.basis,
            )
        console = _rendering.console()
        console.print(table)
        todo = [step for step in steps if not step.ready]
        seconds = sum(step.seconds or 0 for step in todo)
        more = " and more (some were never run here)" if any(step.seconds is None for step in todo) else ""
        size = sum(step.bytes or 0 for step in todo)
        console.print(
            f"{len(todo)} of {len(steps)} stages to do, about {_rendering.seconds(seconds)} "
            f"and {_rendering.megabytes(size)}{more}"
        )
        if chosen.data is not None:
            measured = chosen.bench.candidates or planning.check(chosen, runs_here=False).labels
            console.print(f"Then {len(measured)} candidates are measured, whose time is not in the estimate")

    _options.emit([vars(step) for step in steps], as_json, render)
