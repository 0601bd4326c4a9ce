"""What each kind of cell does. Every function takes its parameters and the surroundings, and returns JSON."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import UserError
from studies.gpu import agreement, artifacts, backends, kernels, machine, measure, steps, timing
from studies.gpu.around import Around, Params, Result, Skip, shapes_of
from studies.gpu.measure import Bench
from studies.gpu.plan import Shape

_ROWS_A_BATCH = 32
# Rows of an evaluation set are padded to these: one session each, instead of one a length.
_BUCKETS = (16, 32, 64, 128, 256, 384, 512)
_PROFILED = 5


def _open(around: Around, model: str, backend: str, precision: str, device: str) -> Any:
    """A backend with a model.

    Raises:
        Skip: the backend or the graph is not there.
    """
    module = backends.load(backend)
    reason = module.missing(device, precision)
    if reason:
        raise Skip(reason)
    if backend in ("ort", "trt") and around.folder is None:
        raise Skip("no artifacts were given (--artifacts): there is no ONNX graph to run")
    return module.Opened(around.subject(model), precision, device)


def facts(params: Params, around: Around) -> Result:
    """The machine; what torch sees of the device where torch is installed."""
    found = machine.facts()
    if find_spec("torch") is not None:
        import torch

        found["torch"] = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        if around.device == "cuda":
            seen = torch.cuda.get_device_properties(0)
            found["torch"] |= {
                "device": seen.name,
                "capability": f"{seen.major}.{seen.minor}",
                "multiprocessors": seen.multi_processor_count,
                "memory_bytes": seen.total_memory,
                "l2_bytes": getattr(seen, "L2_cache_size", None),
            }
    return found


def context(params: Params, around: Around) -> Result:
    """Memory of a process that has a context on the device and nothing else: what others are charged less."""
    if around.device == "cuda":
        from studies.gpu.driver import Driver

        Driver()
    return measure.process_memory(around.bench())


def shapes(params: Params, around: Around) -> Result:
    """Every time of one model in one backend, over some shapes, with and without a CUDA graph."""
    opened = _open(around, params["model"], params["backend"], params["precision"], around.device)
    bench, wanted = around.bench(), shapes_of(params)
    _build(opened, [(shape, shape) for shape in wanted])
    vocabulary = around.plan.models[params["model"]].vocabulary
    figures: list[Result] = []
    memory: Result = {}
    failures: list[Result] = []
    for shape in wanted:
        feeds = backends.feeds(shape, vocabulary)
        for graph in opened.graphs:
            try:
                with closing(opened.session(shape, feeds, graph)) as session:
                    figures.append(
                        measure.figure(opened, session, shape, graph, around.sampling(params), bench)
                    )
                    memory[f"{shape}{' graph' if graph else ''}"] = opened.memory()
            except Exception as cause:
                # Too little memory for one shape, or no graph where there is one without: the others count.
                # Only the words are kept: the error's frames hold the session, and so the memory that the
                # next shape needs.
                failures.append(
                    {
                        "batch": shape.batch,
                        "length": shape.length,
                        "cuda_graph": graph,
                        "reason": f"{type(cause).__name__}: {cause}",
                    }
                )
            session = None
    if not figures:
        raise UserError(f"no shape could be measured; the first one: {failures[0]['reason']}")
    return {
        "facts": opened.facts(),
        "figures": figures,
        "failures": failures,
        "padding_share": 0.0,
        "memory": {"by_shape": memory, "process": measure.process_memory(bench)},
    }


def _build(opened: Any, profiles: list[tuple[Shape, Shape]]) -> None:
    if hasattr(opened, "build"):
        opened.build(profiles)


def accuracy(params: Params, around: Around) -> Result:
    """Accuracy and agreement of the prepared artifact on its evaluation rows, and its times, together.

    An INT8 graph has no GPU kernels in ONNX Runtime: it runs on the CPU there, for its accuracy alone,
    and the result says so.
    """
    if around.folder is None or "rows" not in around.manifest:
        raise Skip("no artifacts with evaluation rows were given (--artifacts)")
    device = "cpu" if params["backend"] == "ort" and params["precision"] == "int8" else around.device
    opened = _open(around, around.manifest["rows"]["model"], params["backend"], params["precision"], device)
    rows = artifacts.rows(around.folder)
    lengths = rows["attention_mask"].sum(1)
    longest = min(size for size in _BUCKETS if size >= lengths.max())
    buckets = agreement.bucketed(lengths, _BUCKETS)
    headline = shapes_of(params)
    _build(
        opened,
        [(Shape(_ROWS_A_BATCH, min(_BUCKETS)), Shape(_ROWS_A_BATCH, longest)), *((s, s) for s in headline)],
    )
    logits = np.full(rows["reference"].shape, np.nan, np.float32)
    for length, indices in buckets.items():
        picked = agreement.batches(indices, _ROWS_A_BATCH)
        fed = [_feed(rows, batch, length) for batch in picked]
        with closing(opened.session(Shape(_ROWS_A_BATCH, length), fed, opened.graphs[-1])) as session:
            for number, batch in enumerate(picked):
                session.load(number)
                session.enqueue()
                session.fetch()
                session.synchronize()
                logits[batch] = session.outputs()
    bench = Bench(device, around.bench().watch if device == "cuda" else None)
    figures = []
    for shape in headline if device == around.device else []:
        feeds = backends.feeds(shape, around.manifest["rows"]["vocabulary"])
        with closing(opened.session(shape, feeds, opened.graphs[-1])) as session:
            figures.append(
                measure.figure(opened, session, shape, opened.graphs[-1], around.plan.short, bench)
            )
    return {
        "device": device,
        "facts": opened.facts(),
        "comparison": agreement.compare(logits, rows["labels"], rows["reference"]),
        "buckets": {str(length): len(indices) for length, indices in buckets.items()},
        "figures": figures,
        "memory": opened.memory(),
    }


def _feed(rows: dict[str, np.ndarray], batch: np.ndarray, length: int) -> backends.Feed:
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: _fit(rows[name][batch], length).astype(np.int64) for name in names}


def _fit(array: np.ndarray, length: int) -> np.ndarray:
    """Cut or pad with zeros to a length; what is cut is padding, since buckets hold their rows."""
    short = length - array.shape[1]
    return np.pad(array, ((0, 0), (0, short))) if short > 0 else array[:, :length]


def kernel_counts(params: Params, around: Around) -> Result:
    """Kernels, time in them and gaps between them, at each shape; without a CUDA graph."""
    if find_spec("torch") is None:
        raise Skip("torch is not installed: its profiler counts the kernels")
    opened = _open(around, params["model"], params["backend"], params["precision"], around.device)
    _build(opened, [(shape, shape) for shape in shapes_of(params)])
    layers = around.plan.models[params["model"]].layers
    found = {}
    for shape in shapes_of(params):
        feeds = backends.feeds(shape, around.plan.models[params["model"]].vocabulary)
        with closing(opened.session(shape, feeds, False)) as session:
            timing.warm_up(session, around.plan.short)
            elapsed = timing.summarize(timing.sample_device(session, opened.clock, around.plan.short).device)
            one = kernels.profile(session, around.device)
        found[str(shape)] = {
            **one,
            "kernels_a_layer": one["kernels"] / layers,
            opened.clock.name: elapsed,
            "gap_ms": max(0.0, elapsed["p50"] - one["busy_ms"]) if one["kernels"] else None,
        }
        if params["backend"] == "ort":
            found[str(shape)]["onnxruntime"] = _ort_nodes(opened, shape, feeds)
    return {"facts": opened.facts(), "shapes": found}


def _ort_nodes(opened: Any, shape: Shape, feeds: list[backends.Feed]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        raw = opened.open(False, profile=str(Path(folder) / "profile"))
        session = backends.load("ort").Session(raw, shape, feeds, opened.device, opened.stream)
        for _ in range(_PROFILED):
            session.enqueue()
        session.synchronize()
        return kernels.nodes(Path(raw.end_profiling()), _PROFILED)


KINDS: dict[str, Callable[[Params, Around], Result]] = {
    "facts": facts,
    "context": context,
    "shapes": shapes,
    "accuracy": accuracy,
    "kernels": kernel_counts,
    "depth": steps.depth,
    "widths": steps.widths,
}
