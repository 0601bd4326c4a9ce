"""The hypotheses, stated before any GPU was seen, and what the figures say to them.

They were estimated for native TensorRT and are not tuned to; ONNX Runtime's CUDA provider and torch with a
CUDA graph were expected up to twice as slow, so that is their limit. Each verdict carries the figures of the
same report that explain it: the time without a graph, that of enqueuing, and where the time went.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studies.gpu.figures import matching
from studies.gpu.plan import EAGER32, Shape

_NATIVE, _OTHERS = 1.0, 2.0
LANES = {"trt-fp16": _NATIVE, "ort-fp16": _OTHERS, "sdpa-fp16": _OTHERS}
HELD, MISSED, UNMEASURED = "held", "missed", "not measured"
DEEP, SHALLOW = "minilm-l6", "minilm-l3"


@dataclass(frozen=True)
class Hypothesis:
    """At most so many milliseconds of the GPU, in FP16 with a CUDA graph, by native TensorRT."""

    model: str
    shape: Shape
    at_most_ms: float


LATENCIES = (
    Hypothesis("bert-base", Shape(1, 128), 0.35),
    Hypothesis("bert-base", Shape(32, 128), 1.3),
    Hypothesis("minilm-l6", Shape(1, 128), 0.14),
    Hypothesis("minilm-l6", Shape(32, 128), 0.30),
)
# Three layers against six at batch 1: about half; the classifier and the embeddings do not shrink.
HALF = (0.40, 0.65)
SPEED_UP = 6.0

Results = Mapping[str, Mapping[str, Any]]


def _figure(
    results: Results, cell: str, candidate: str, metric: str, **at: int | str
) -> Mapping[str, Any] | None:
    """A figure of a cell; None where it was not measured or counts for nothing."""
    figures = matching(results.get(cell, {}).get("figures", ()), candidate, metric, **at)
    return next((figure for figure in figures if "spoiled" not in figure["flags"]), None)


def median(results: Results, cell: str, candidate: str, shape: Shape, *, graph: bool) -> float | None:
    """p50 of the GPU's time; None where it was not measured on a GPU, or in a run that counts for nothing."""
    at = {"batch_size": shape.batch, "length": shape.length, "graph": "yes" if graph else "no"}
    figure = _figure(results, cell, candidate, "gpu_p50_ms", **at)
    return None if figure is None else float(figure["value"])


def why(results: Results, cell: str, candidate: str, shape: Shape) -> dict[str, Any]:
    """What explains a figure, as far as it was measured."""
    at = {"batch_size": shape.batch, "length": shape.length}
    explained: dict[str, Any] = {}
    for way, words in (("no", "without_graph"), ("yes", "with_graph")):
        for part in ("gpu", "enqueue"):
            figure = _figure(results, cell, candidate, f"{part}_p50_ms", **at, graph=way)
            if figure is not None:
                explained[f"{part}_ms_{words}"] = figure["value"]
                explained |= {"flags": figure["flags"]} if figure["flags"] else {}
    placed = _figure(results, cell, candidate, "placed_share")
    if placed is not None:
        explained |= {"placed_share": placed["value"], "operators": list(placed.get("notes", ()))}
    return explained


def _row(
    name: str, lane: str, low: float | None, high: float | None, value: float | None, unit: str,
    explained: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    if value is None:
        status = UNMEASURED
    else:
        status = HELD if (low is None or value >= low) and (high is None or value <= high) else MISSED
    return {
        "name": name,
        "lane": lane,
        "at_least": low,
        "at_most": high,
        "value": value,
        "unit": unit,
        "status": status,
        "why": explained if value is not None else {},
    }


def judge(results: Results) -> list[dict[str, Any]]:
    """A row for each hypothesis and lane.

    Args:
        results: cell id -> its result, of done cells.
    """
    rows = []
    single = Shape(1, 128)
    for lane, allowance in LANES.items():
        for hypothesis in LATENCIES:
            name = f"{hypothesis.model} at {hypothesis.shape}, FP16 with CUDA graph"
            cell = f"headline/{hypothesis.model}/{lane}"
            value = median(results, cell, lane, hypothesis.shape, graph=True)
            explained = why(results, cell, lane, hypothesis.shape)
            rows.append(_row(name, lane, None, hypothesis.at_most_ms * allowance, value, "ms", explained))
        at: dict[str, int | str] = {"batch_size": single.batch, "length": single.length, "graph": "yes"}
        three = _figure(results, f"layers/{lane}", SHALLOW, "gpu_p50_ms", **at)
        ratio = three.get("ratio") if three is not None else None
        name = f"3 layers of MiniLM against 6 at {single}"
        rows.append(_row(name, lane, *HALF, ratio, "ratio", why(results, f"layers/{lane}", DEEP, single)))
        for model in ("bert-base", "minilm-l6"):
            cell = f"headline/{model}/{lane}"
            fast = median(results, cell, lane, single, graph=True)
            slow = median(results, cell, EAGER32.name, single, graph=False)
            times = slow / fast if slow is not None and fast else None
            name = f"{model} at {single}: FP16 with CUDA graph over torch eager FP32"
            explained = {
                "eager": why(results, cell, EAGER32.name, single),
                "graph": why(results, cell, lane, single),
            }
            rows.append(_row(name, lane, SPEED_UP, None, times, "times", explained))
    return rows
