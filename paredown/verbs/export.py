"""The verb export: from a model to an ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def export(
    model: Annotated[str, typer.Argument(help="Torch artifact, model folder or hub id.")],
    data: _options.Data = None,
    out: _options.Out = Path("onnx"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    task: _options.Task = None,
    opset: Annotated[int | None, typer.Option("--opset", min=17, max=20, help="ONNX opset.")] = None,
    exporter: Annotated[str | None, typer.Option("--exporter", help="torchscript or dynamo.")] = None,
    max_batch: Annotated[
        int | None, typer.Option("--max-batch", min=1, max=65_536, help="Most rows at once.")
    ] = None,
    max_length: _options.MaxLength = None,
    fuse: Annotated[bool, typer.Option("--fuse", help="Then fuse the graph for ONNX Runtime.")] = False,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Export to ONNX, checked against PyTorch on real rows."""
    from compress.pipeline import building

    number = (
        None if max_length in (None, "data") else max_length
    )  # of the graph; what rows need is the data's
    settings = _options.settings(
        set_,
        opset=opset,
        exporter=exporter,
        max_batch=max_batch,
        max_length=None if number is None else _options.tokens(number, 2),
    )
    chosen = _options.data_config(data, column, limit, max_length if number is None else None)
    artifact = building.run_stage(
        "export-onnx",
        model,
        options=settings,
        data_config=chosen,
        task=task,
        seed=seed,
        threads=threads,
        out=None if fuse else out,
        store=_options.store(store),
    )
    if fuse:
        artifact = building.run_stage(
            "optimize-onnx",
            artifact.path,
            options={},
            data_config=chosen,
            seed=seed,
            threads=threads,
            out=out,
            store=_options.store(store),
        )
    _rendering.show_artifact(artifact, as_json)
