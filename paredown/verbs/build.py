"""The verb build: a graph as a TensorRT engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options, _rendering


def build(
    graph: Annotated[str, typer.Argument(help="ONNX artifact.")],
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="fp32, tf32, fp16, bf16, int8 or fp8 [default: as the graph is]."),
    ] = None,
    profile: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            help="AXIS=MIN:OPT:MAX,...; repeat for several [default: from the lengths of the data].",
        ),
    ] = None,
    flavor: Annotated[
        str | None, typer.Option("--flavor", help="tensorrt, or tensorrt-rtx (ahead of time, no GPU needed).")
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option("--compute-capability", help="Of an ahead-of-time build, such as 8.9; repeat."),
    ] = None,
    optimization_level: Annotated[
        int | None, typer.Option("--optimization-level", min=0, max=5, help="0 builds fast, 5 runs fast.")
    ] = None,
    workspace: Annotated[
        int | None, typer.Option("--workspace", min=1, max=2**30, help="Most scratch memory, in MiB.")
    ] = None,
    gpu: Annotated[int | None, typer.Option("--gpu", min=0, help="Number of the GPU to build for.")] = None,
    data: _options.Data = None,
    out: _options.Out = Path("engine"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Compile an ONNX graph into a TensorRT engine for the GPU at hand."""
    from compress.pipeline import building

    engine = building.run_stage(
        "build-tensorrt",
        graph,
        options=_options.settings(
            set_,
            precision=precision,
            profiles=profile or None,
            flavor=flavor,
            compute_capabilities=compute_capability or None,
            builder_optimization_level=optimization_level,
            workspace_bytes=None if workspace is None else workspace * 2**20,
            gpu=gpu,
        ),
        data_config=_options.data_config(data, column, limit),
        seed=seed,
        threads=threads,
        out=out,
        store=_options.store(store),
    )
    _rendering.show_artifact(engine, as_json)
