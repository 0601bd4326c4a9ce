"""The verb temperature: the stage that folds a temperature into a model of either kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def temperature(
    model: Annotated[str, typer.Argument(help="Classifier: an artifact of either kind, a folder or hub id.")],
    data: _options.Data = None,
    out: _options.Out = Path("calibrated"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    task: _options.Task = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="To fold in; fitted on selection rows by default.")
    ] = None,
    seed: _options.Seed = None,
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Make a classifier's confidence match being right; its answers stay the same."""
    from compress.artifacts import artifact
    from compress.pipeline import building

    sealed = artifact.is_sealed(Path(model)) and artifact.Artifact.open(Path(model))
    calibrated = building.run_stage(
        "calibrate-onnx" if sealed and sealed.kind == "onnx" else "calibrate",
        model,
        options=_options.settings(None, temperature=temperature),
        data_config=_options.data_config(data, column, limit),
        task=task,
        seed=seed,
        threads=threads,
        out=out,
        store=_options.store(store),
    )
    _rendering.show_artifact(calibrated, as_json)
