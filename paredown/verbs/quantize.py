"""The verb quantize: a graph in eight or sixteen bits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from compress.errors import RecipeError
from paredown.verbs import _options, _rendering

_PRECISIONS = ("int8", "fp8", "fp16", "bf16")


def quantize(
    graph: Annotated[str, typer.Argument(help="ONNX artifact.")],
    precision: Annotated[str, typer.Option("--precision", help="int8, fp8, fp16 or bf16.")] = "int8",
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="dynamic or static (int8); measured and chosen when left out."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="cpu or tensorrt (int8; fp8 is for tensorrt).")
    ] = None,
    ranges: Annotated[
        str | None, typer.Option("--ranges", help="minmax, percentile or entropy (static int8).")
    ] = None,
    activation_scales: Annotated[
        str | None,
        typer.Option(
            "--activation-scales", help="tensor, or token: no row depends on its batch (dynamic int8)."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail where too few calibration rows decide as the float graph does."),
    ] = False,
    keep_float: Annotated[
        list[str] | None,
        typer.Option("--keep-float", help="auto, none, or a part of a name; repeat for several."),
    ] = None,
    data: _options.Data = None,
    out: _options.Out = Path("quantized"),
    column: _options.Columns = None,
    limit: _options.Limit = None,
    set_: _options.Settings = None,
    seed: _options.Seed = None,
    threads: _options.Threads = None,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Make an ONNX graph INT8, FP8, FP16 or BF16."""
    from compress.pipeline import building

    if precision not in _PRECISIONS:
        raise RecipeError(f"--precision is '{precision}'; allowed: {', '.join(_PRECISIONS)}")
    eight = precision in ("int8", "fp8")
    only = {
        "--mode": mode,
        "--target": target,
        "--ranges": ranges,
        "--activation-scales": activation_scales,
        "--strict": strict or None,
    }
    wrong = [name for name, value in only.items() if value is not None and not eight]
    if wrong:
        raise RecipeError(f"{', '.join(wrong)} belongs to int8 and fp8; leave it out for {precision}")
    if precision == "fp8":
        target = target or "tensorrt"
    float_names: Any = keep_float or None
    if eight and keep_float in (["auto"], ["none"]):
        float_names = keep_float[0] if keep_float else None
    named: dict[str, Any] = {"keep_float": float_names, "mode": mode, "target": target, "ranges": ranges}
    named |= {"activation_scales": activation_scales, "strict": strict or None}
    if precision != "int8":
        named["precision"] = precision
    artifact = building.run_stage(
        "quantize-onnx" if eight else "half-precision",
        graph,
        options=_options.settings(set_, **named),
        data_config=_options.data_config(data, column, limit),
        seed=seed,
        threads=threads,
        out=out,
        store=_options.store(store),
    )
    _rendering.show_artifact(artifact, as_json)
