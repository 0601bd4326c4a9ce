"""The verb finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def finetune(
    base: Annotated[str, typer.Argument(help="Base model: a folder or hub id.")],
    data: _options.Data = None,
    out: _options.Out = Path("finetuned"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    max_length: _options.MaxLength = None,
    task: _options.Task = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    device: _options.Device = "cpu",
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Fine-tune a base model on labeled rows."""
    from compress.pipeline import building

    given = _options.settings(set_, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    made = building.run_stage(
        "finetune",
        base,
        options=given,
        data_config=_options.data_config(data, column, limit, max_length),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=_options.store(store),
    )
    _rendering.show_artifact(made, as_json)
