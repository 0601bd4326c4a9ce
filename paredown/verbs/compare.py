"""The verb compare: two artifacts on the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress.errors import UserError
from paredown.verbs import _options, _rendering

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from deploy.compare import Comparison


def compare(
    reference: Annotated[str, typer.Argument(help="Artifact or model folder that errors refer to.")],
    candidate: Annotated[str, typer.Argument(help="The other one.")],
    data: _options.Data = None,
    column: _options.Columns = None,
    task: _options.Task = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also compare hidden states, and name the first bad layer.")
    ] = False,
    layer_limit: Annotated[
        float, typer.Option("--layer-limit", min=0.0, help="Relative error above which a layer diverges.")
    ] = 0.05,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="At most this many rows.")] = None,
    device: _options.Device = "cpu",
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Compare two artifacts on the same real rows."""
    from compress import catalog
    from compress import data as sources
    from compress.model import checkpoint
    from compress.pipeline import building
    from deploy import compare as comparing

    chosen = _options.data_config(data, column, plays="eval")
    artifacts = _options.store(store)
    first, second = (
        building.open_artifact(place, task=task, data_config=chosen, store=artifacts)
        for place in (reference, candidate)
    )
    config = chosen or recorded(first) or recorded(second)
    if config is None:
        raise UserError("neither artifact records the data that it was made with: give --data")
    module = catalog.task(first.task)
    head = module.head_of(checkpoint.read_config(first.path))
    decided: dict[str, Any] = {}
    all_rows = sources.evaluation(config, module, first.manifest.seed, head, facts=decided)
    result = comparing.compare(
        first,
        second,
        all_rows[:rows],
        device=device,
        threads=threads,
        layers=layers,
        layer_limit=layer_limit,
        label_order=decided.get("label_order", ()),
    )
    _options.emit(result.as_json(), as_json, lambda: _show_comparison(result, reference, candidate))


def recorded(artifact: Artifact) -> Any:
    """The data configuration in a manifest, or None."""
    from compress.recipe import DataConfig, validate

    written = artifact.manifest.origin.data
    if written is None:
        return None
    return validate(DataConfig, written, f"the data that {artifact.path} records")


def _show_comparison(result: Comparison, reference: str, candidate: str) -> None:
    from rich.table import Table

    from compress import label_names
    from compress.model import padding

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("reference", reference)
    table.add_row("candidate", candidate)
    table.add_row("rows", str(result.rows))
    for name, cut in zip(("reference", "candidate"), result.truncation, strict=True):
        if cut is not None and cut.cut:
            table.add_row(f"cut by the {name}", cut.sentence())
    for name, names, pads in zip(("reference", "candidate"), result.labels, result.pads, strict=True):
        for sentence in names.sentences() + ([] if pads else [padding.SENTENCE]):
            table.add_row(f"of the {name}", sentence)
    for sentence in label_names.evaluation_order(result.label_order):
        table.add_row("labels", sentence)
    if result.agreement is not None:
        table.add_row(
            "agreement", f"{100 * result.agreement:.2f} % ({result.agreeing} of {result.decisions})"
        )
    table.add_row("divergence", f"{result.divergence_mean:.3g} nats a row, p99 {result.divergence_p99:.3g}")
    for output in result.outputs:
        table.add_row(
            f"error of {output.output}",
            f"largest {output.largest:.3g}, mean {output.mean:.3g}, RMSE {output.rmse:.3g}",
        )
    for layer in result.layers:
        table.add_row(f"layer {layer.layer}", f"{100 * layer.relative:.3g} % off")
    if result.layers:
        first_layer = result.first_diverging
        table.add_row("first diverging", "none" if first_layer is None else f"layer {first_layer}")
    _rendering.console().print(table)
