"""The verb ``bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.errors import RecipeError, UserError
from compress.recipe import DataConfig, validate
from paredown.verbs import _options


def bundle(
    artifact: Annotated[str, typer.Argument(help="Artifact to hand over.")],
    out: _options.Out = Path("bundle"),
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the model [default: the folder's].")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Bench report whose figures the card shows.")
    ] = None,
    build_on_target: Annotated[
        bool, typer.Option("--build-on-target", help="Add what builds the TensorRT engine where the GPU is.")
    ] = False,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            help="AXIS=MIN:OPT:MAX,...; repeat for several [default: from the lengths of the data].",
        ),
    ] = None,
    max_batch: Annotated[
        int | None, typer.Option("--max-batch", min=1, max=65_536, help="Rows that Triton may join at once.")
    ] = None,
    data: _options.Data = None,
    column: _options.Columns = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Make the folder to hand over: artifact, model card, checksums, Triton repository."""
    from compress import catalog
    from compress import data as sources
    from compress.artifacts.artifact import Artifact
    from deploy.handover import bundle as handover

    opened = Artifact.open(Path(artifact))
    target = None
    if profile and not build_on_target:
        raise RecipeError("--profile is for the engine that is built on the target: give --build-on-target")
    if build_on_target:
        written = opened.manifest.origin.data
        config = _options.data_config(data, column)
        if config is None and written is not None:
            config = validate(DataConfig, written, f"the data that {artifact} records")
        rows: Any = ()
        if config is not None:
            task = catalog.task(opened.task)
            try:
                rows = sources.load(config, task, opened.manifest.seed).training.calibration
            except UserError as reason:
                if data is not None or not profile:
                    raise
                # The artifact names data that need not be on this machine, and profiles were given.
                log.warning("the profiles are not compared with the lengths of any rows: %s", reason)
        timings = sorted(_options.store(store).cache("build-tensorrt").glob("*.timing"))
        target = handover.Target(tuple(profile or ()), rows, tuple(timings))
    folder = handover.bundle(opened, out, name=name, report=report, target=target, max_batch=max_batch)
    payload = {"path": str(folder), "id": opened.id, "built_on_target": build_on_target}
    _options.emit(payload, as_json, lambda: typer.echo(f"{folder}: start with README.md in it"))
