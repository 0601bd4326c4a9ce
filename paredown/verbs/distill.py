"""The verb distill."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def distill(
    teacher: Annotated[str, typer.Argument(help="Fine-tuned model: a folder, artifact or hub id.")],
    data: _options.Data = None,
    out: _options.Out = Path("distilled"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    max_length: _options.MaxLength = None,
    task: _options.Task = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Layers that the student keeps.")
    ] = None,
    student: Annotated[str | None, typer.Option("--student", help="A given student model's folder.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    control: Annotated[
        bool | None, typer.Option("--control", help="Also train the same student without the teacher.")
    ] = None,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    device: _options.Device = "cpu",
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Train a smaller student to say what the teacher says."""
    from compress.pipeline import building

    given = _options.settings(set_, layers=layers, student=student, epochs=epochs, control=control)
    made = building.run_stage(
        "distill",
        teacher,
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
