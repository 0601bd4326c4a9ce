"""The verb calibrate: the stage that folds a temperature into a model of either kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import options, rendering


def calibrate(
    model: Annotated[str, typer.Argument(help="Classifier: an artifact of either kind, a folder or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("calibrated"),
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="To fold in; fitted on selection rows by default.")
    ] = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Make a classifier's confidence match being right; its answers stay the same."""
    from compress import artifact, pipeline

    sealed = artifact.is_sealed(Path(model)) and artifact.Artifact.open(Path(model))
    made = pipeline.run_stage(
        "calibrate-onnx" if sealed and sealed.kind == "onnx" else "calibrate",
        model,
        options=options.settings(None, temperature=temperature),
        data_config=options.data_config(data, column, limit),
        task=task,
        seed=seed,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    rendering.show_artifact(made, as_json)
