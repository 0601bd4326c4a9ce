"""The verbs that change a model: finetune, distill, prune. Each is one stage with that stage's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import options, rendering


def finetune(
    base: Annotated[str, typer.Argument(help="Base model: a folder or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("finetuned"),
    column: options.Columns = None,
    limit: options.Limit = None,
    max_length: options.MaxLength = None,
    task: options.Task = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1)] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate")] = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Fine-tune a base model on labeled rows."""
    from compress import pipeline

    given = options.settings(set_, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate)
    made = pipeline.run_stage(
        "finetune",
        base,
        options=given,
        data_config=options.data_config(data, column, limit, max_length),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    rendering.show_artifact(made, as_json)


def distill(
    teacher: Annotated[str, typer.Argument(help="Fine-tuned model: a folder, artifact or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("distilled"),
    column: options.Columns = None,
    limit: options.Limit = None,
    max_length: options.MaxLength = None,
    task: options.Task = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Layers that the student keeps.")
    ] = None,
    student: Annotated[str | None, typer.Option("--student", help="A given student model's folder.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs")] = None,
    control: Annotated[
        bool | None, typer.Option("--control", help="Also train the same student without the teacher.")
    ] = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Train a smaller student to say what the teacher says."""
    from compress import pipeline

    given = options.settings(set_, layers=layers, student=student, epochs=epochs, control=control)
    made = pipeline.run_stage(
        "distill",
        teacher,
        options=given,
        data_config=options.data_config(data, column, limit, max_length),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    rendering.show_artifact(made, as_json)


def prune(
    model: Annotated[str, typer.Argument(help="Fine-tuned model: a folder, artifact or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("pruned"),
    column: options.Columns = None,
    limit: options.Limit = None,
    max_length: options.MaxLength = None,
    task: options.Task = None,
    keep: Annotated[float | None, typer.Option("--keep", help="Share of heads and neurons to keep.")] = None,
    criterion: Annotated[str | None, typer.Option("--criterion", help="See 'paredown list'.")] = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Cut attention heads, FFN neurons or layers, and recover."""
    from compress import pipeline

    made = pipeline.run_stage(
        "prune",
        model,
        options=options.settings(set_, keep=keep, criterion=criterion),
        data_config=options.data_config(data, column, limit, max_length),
        task=task,
        seed=seed,
        device=device,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    rendering.show_artifact(made, as_json)


def register(app: typer.Typer) -> None:
    """Add the verbs to the root."""
    for verb in (finetune, distill, prune):
        app.command()(verb)
