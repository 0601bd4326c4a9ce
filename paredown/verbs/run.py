"""The verb run: a whole recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options
from paredown.verbs._outcome import finish
from paredown.verbs._recipe import chosen_recipe


def run(
    recipe: Annotated[str, typer.Argument(help="A recipe file, or the name of a shipped recipe.")],
    model: Annotated[str | None, typer.Option("--model", help="Model folder, artifact or hub id.")] = None,
    data: _options.Data = None,
    column: _options.Columns = None,
    limit: _options.Limit = None,
    task: _options.Task = None,
    out: _options.RunFolder = Path("runs/latest"),
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    store: _options.StoreRoot = None,
    track: _options.Track = None,
    inconclusive: _options.Inconclusive = None,
    as_json: _options.Json = False,
) -> None:
    """Run a recipe whole: build every stage, bench, judge, report."""
    from paredown import workflow

    chosen = chosen_recipe(recipe, model, data, column, set_, seed, task, limit)
    outcome = workflow.run(chosen, out, _options.store(store), track or (), inconclusive)
    finish(outcome, as_json)
