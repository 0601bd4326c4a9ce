"""The verbs of deploy: export, quantize, build, compare, predict. Parse, one library call, render."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compress import log, options, rendering
from compress.errors import RecipeError, UserError
from deploy.calibrate_verb import calibrate
from deploy.handover import verb

if TYPE_CHECKING:
    from compress.artifact import Artifact
    from compress.tasks import Prediction
    from deploy.compare import Comparison
    from deploy.truncation import Truncation

_PRECISIONS = ("int8", "fp8", "fp16", "bf16")
Runtime = Annotated[str | None, typer.Option("--runtime", help="Runtime; the artifact's own when left out.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the root command."""
    app.command()(export)
    app.command()(quantize)
    app.command()(build)
    app.command()(compare)
    app.command()(predict)
    app.command(name="bundle")(verb.bundle)
    app.command()(calibrate)


def export(
    model: Annotated[str, typer.Argument(help="Torch artifact, model folder or hub id.")],
    data: options.Data = None,
    out: options.Out = Path("onnx"),
    column: options.Columns = None,
    limit: options.Limit = None,
    task: options.Task = None,
    opset: Annotated[int | None, typer.Option("--opset", min=17, max=20, help="ONNX opset.")] = None,
    exporter: Annotated[str | None, typer.Option("--exporter", help="torchscript or dynamo.")] = None,
    max_batch: Annotated[
        int | None, typer.Option("--max-batch", min=1, max=65_536, help="Most rows at once.")
    ] = None,
    max_length: options.MaxLength = None,
    fuse: Annotated[bool, typer.Option("--fuse", help="Then fuse the graph for ONNX Runtime.")] = False,
    set_: options.Settings = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Export to ONNX, checked against PyTorch on real rows."""
    from compress import pipeline

    number = (
        None if max_length in (None, "data") else max_length
    )  # of the graph; what rows need is the data's
    given = options.settings(
        set_,
        opset=opset,
        exporter=exporter,
        max_batch=max_batch,
        max_length=None if number is None else options.tokens(number, 2),
    )
    chosen = options.data_config(data, column, limit, max_length if number is None else None)
    made = pipeline.run_stage(
        "export-onnx",
        model,
        options=given,
        data_config=chosen,
        task=task,
        seed=seed,
        threads=threads,
        out=None if fuse else out,
        store=options.store(store),
    )
    if fuse:
        made = pipeline.run_stage(
            "optimize-onnx",
            made.path,
            options={},
            data_config=chosen,
            seed=seed,
            threads=threads,
            out=out,
            store=options.store(store),
        )
    rendering.show_artifact(made, as_json)


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
    data: options.Data = None,
    out: options.Out = Path("quantized"),
    column: options.Columns = None,
    limit: options.Limit = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Make an ONNX graph INT8, FP8, FP16 or BF16."""
    from compress import pipeline

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
    kept: Any = keep_float or None
    if eight and keep_float in (["auto"], ["none"]):
        kept = keep_float[0] if keep_float else None
    named: dict[str, Any] = {"keep_float": kept, "mode": mode, "target": target, "ranges": ranges}
    named |= {"activation_scales": activation_scales, "strict": strict or None}
    if precision != "int8":
        named["precision"] = precision
    made = pipeline.run_stage(
        "quantize-onnx" if eight else "half-precision",
        graph,
        options=options.settings(set_, **named),
        data_config=options.data_config(data, column, limit),
        seed=seed,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    rendering.show_artifact(made, as_json)


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
    data: options.Data = None,
    out: options.Out = Path("engine"),
    column: options.Columns = None,
    limit: options.Limit = None,
    set_: options.Settings = None,
    seed: options.Seed = None,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Compile an ONNX graph into a TensorRT engine for the GPU at hand."""
    from compress import pipeline

    made = pipeline.run_stage(
        "build-tensorrt",
        graph,
        options=options.settings(
            set_,
            precision=precision,
            profiles=profile or None,
            flavor=flavor,
            compute_capabilities=compute_capability or None,
            builder_optimization_level=optimization_level,
            workspace_bytes=None if workspace is None else workspace * 2**20,
            gpu=gpu,
        ),
        data_config=options.data_config(data, column, limit),
        seed=seed,
        threads=threads,
        out=out,
        store=options.store(store),
    )
    rendering.show_artifact(made, as_json)


def compare(
    reference: Annotated[str, typer.Argument(help="Artifact or model folder that errors refer to.")],
    candidate: Annotated[str, typer.Argument(help="The other one.")],
    data: options.Data = None,
    column: options.Columns = None,
    task: options.Task = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Also compare hidden states, and name the first bad layer.")
    ] = False,
    layer_limit: Annotated[
        float, typer.Option("--layer-limit", min=0.0, help="Relative error above which a layer diverges.")
    ] = 0.05,
    rows: Annotated[int | None, typer.Option("--rows", min=1, help="At most this many rows.")] = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Compare two artifacts on the same real rows."""
    from compress import catalog, pipeline
    from compress import data as sources
    from compress.model import checkpoint
    from deploy import compare as comparing

    chosen = options.data_config(data, column, plays="eval")
    kept = options.store(store)
    first, second = (
        pipeline.open_artifact(one, task=task, data_config=chosen, store=kept)
        for one in (reference, candidate)
    )
    config = chosen or recorded(first) or recorded(second)
    if config is None:
        raise UserError("neither artifact records the data that it was made with: give --data")
    module = catalog.load("task", first.task)
    head = module.head_of(checkpoint.read_config(first.path))
    decided: dict[str, Any] = {}
    found = sources.evaluation(config, module, first.manifest.seed, head, facts=decided)
    result = comparing.compare(
        first,
        second,
        found[:rows],
        device=device,
        threads=threads,
        layers=layers,
        layer_limit=layer_limit,
        label_order=decided.get("label_order", ()),
    )
    options.emit(result.as_json(), as_json, lambda: _show_comparison(result, reference, candidate))


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
    for one in result.outputs:
        table.add_row(
            f"error of {one.output}",
            f"largest {one.largest:.3g}, mean {one.mean:.3g}, RMSE {one.rmse:.3g}",
        )
    for layer in result.layers:
        table.add_row(f"layer {layer.layer}", f"{100 * layer.relative:.3g} % off")
    if result.layers:
        where = result.first_diverging
        table.add_row("first diverging", "none" if where is None else f"layer {where}")
    rendering.console().print(table)


def predict(
    artifact: Annotated[str, typer.Argument(help="Artifact or model folder.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="A text; two where the model takes pairs; an image file for images."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Rows as JSON lines; predictions come the same way.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, max=65_536, help="Rows at once.")] = 16,
    task: options.Task = None,
    runtime: Runtime = None,
    device: Annotated[
        str | None,
        typer.Option("--device", help="cpu, cuda or cuda:N; where the artifact runs when left out."),
    ] = None,
    threads: options.Threads = None,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Predict one row, or every row of a file.

    Two texts are one pair. A model that is known to take single texts refuses them, as one that takes pairs
    refuses a single text.
    """
    from compress import pipeline
    from compress.data import files
    from deploy.predictor import Predictor

    if bool(texts) == (file is not None):
        raise UserError("give a text to predict, or --file with rows as JSON lines: one of the two")
    opened = pipeline.open_artifact(artifact, task=task, store=options.store(store))
    with Predictor(opened, runtime=runtime, device=device, threads=threads) as predictor:
        labels, unit = predictor.labels, predictor.unit
        if file is not None:
            rows = (row for _, row in files.objects(file))
            for found in predictor.stream(rows, batch_size):
                sys.stdout.write(json.dumps(as_json_row(found, labels, unit), ensure_ascii=False) + "\n")
            _warn_of_cuts(predictor.truncation)
            return
        given = tuple(texts or ())
        if len(given) > len(predictor.may_have):
            raise UserError(
                f"{len(given)} arguments are given, and predict takes one row of at most "
                f"{len(predictor.may_have)} ({', '.join(predictor.may_have)}): "
                "for several rows give --file ROWS.jsonl"
            )
        if len(given) > 1 and predictor.roles is None:
            log.warning(
                "The model does not say whether it takes pairs: the texts are read as one pair (%s). "
                "For several rows give --file ROWS.jsonl.",
                ", ".join(predictor.may_have),
            )
        (found,) = predictor.predict([given[0] if len(given) == 1 else given])
        _warn_of_cuts(predictor.truncation)
        options.emit(as_json_row(found, labels, unit), as_json, lambda: _show_prediction(found, labels, unit))


def _warn_of_cuts(cut: Truncation) -> None:
    if cut.cut:
        log.warning("%s: the answer is about what was left of them.", cut.sentence())


def as_json_row(found: Prediction, labels: tuple[str, ...], unit: str) -> dict[str, Any]:
    """A prediction as JSON values: the label, and the numbers behind it.

    ``probabilities`` are of one distribution, ``scores`` of labels that hold each by itself; a number, and
    scores, stand beside their ``unit``. ``truncated`` is there where the row was cut, and only there; a word
    that was cut off has the label null.
    """
    shown: dict[str, Any] = {"label": found.label}
    if found.truncated:
        shown["truncated"] = True
    if found.probabilities is not None:
        shown["probabilities"] = dict(zip(labels, map(float, found.probabilities), strict=True))
    if found.scores is not None:
        shown["scores"] = dict(zip(labels, map(float, found.scores), strict=True))
    if found.scores is not None or isinstance(found.label, float):
        shown["unit"] = unit
    return shown


def _show_prediction(found: Prediction, labels: tuple[str, ...], unit: str) -> None:
    text = str(found.label)
    if isinstance(found.label, float):
        text = f"{text} ({unit})"
    elif isinstance(found.label, tuple):
        words = ["(cut off)" if part is None else str(part) for part in found.label]
        text = (" " if found.scores is None else ", ").join(words)
        if found.scores is not None and not text:
            text = "none of the labels"
    sys.stdout.write(f"{text}\n")
    shares = found.probabilities or found.scores
    if shares is not None:
        ranked = sorted(zip(labels, shares, strict=True), key=lambda one: -one[1])
        most = max(5, sum(share >= 0.5 for share in shares))  # every label that holds is there
        for label, share in ranked[:most]:
            sys.stdout.write(f"  {share:.4f} {label}\n")
