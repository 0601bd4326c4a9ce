"""The verb prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def prune(
    model: Annotated[str, typer.Argument(help="Fine-tuned model: a folder, artifact or hub id.")],
    data: _options.Data = None,
    out: _options.Out = Path("pruned"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    max_length: _options.MaxLength = None,
    task: _options.Task = None,
    keep: Annotated[float | None, typer.Option("--keep", help="Share of heads and neurons to keep.")] = None,
    criterion: Annotated[str | None, typer.Option("--criterion", help="See 'paredown list'.")] = None,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    device: _options.Device = "cpu",
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Cut attention heads, FFN neurons or layers, and recover."""
    from compress.pipeline import building

    made = building.run_stage(
        "prune",
        model,
        options=_options.settings(set_, keep=keep, criterion=criterion),
        data_config=_options.data_config(data, column, limit, max_length),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=_options.store(store),
    )
    _rendering.show_artifact(made, as_json)
