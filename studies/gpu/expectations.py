"""The hypotheses, stated before any GPU was seen, and what the figures say to them.

They were estimated for native TensorRT and are not tuned to; ONNX Runtime's CUDA provider and torch with a
CUDA graph were expected up to twice as slow, so that is their limit. Each verdict carries the
numbers that explain it: kernels a layer, time in kernels and between them, fused attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studies.gpu.plan import Shape

_NATIVE, _OTHERS = 1.0, 2.0
LANES = {"trt-fp16": _NATIVE, "ort-fp16": _OTHERS, "sdpa-fp16": _OTHERS}
HELD, MISSED, UNMEASURED = "held", "missed", "not measured"


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


def median(results: Results, model: str, lane: str, shape: Shape, graph: bool) -> float | None:
    """p50 of the GPU's time of one figure; None where it was not measured on a GPU."""
    for part in ("headline", "grid"):
        for one in results.get(f"{part}/{model}/{lane}", {}).get("figures", ()):
            same = (one["batch"], one["length"]) == (shape.batch, shape.length)
            if same and one["cuda_graph"] == graph and "gpu_ms" in one:
                return float(one["gpu_ms"]["p50"])
    return None


def why(results: Results, model: str, lane: str, shape: Shape) -> dict[str, Any]:
    """What explains a figure, as far as it was measured."""
    explained: dict[str, Any] = {}
    kernels = results.get(f"kernels/{model}/{lane}", {}).get("shapes", {}).get(str(shape))
    if kernels:
        names = ("kernels_a_layer", "busy_ms", "gap_ms", "fused_attention", "copies")
        explained |= {name: kernels[name] for name in names if name in kernels}
    facts = results.get(f"headline/{model}/{lane}", {}).get("facts", {})
    explained |= {name: facts[name] for name in ("layers", "attention_layers") if name in facts}
    without = median(results, model, lane, shape, False)
    if without is not None:
        explained["gpu_ms_without_graph"] = without
    return explained


def _row(
    name: str, backend: str, low: float | None, high: float | None, value: float | None, unit: str,
    explained: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    if value is None:
        status = UNMEASURED
    else:
        status = HELD if (low is None or value >= low) and (high is None or value <= high) else MISSED
    return {
        "name": name,
        "backend": backend,
        "at_least": low,
        "at_most": high,
        "value": value,
        "unit": unit,
        "status": status,
        "why": explained if value is not None else {},
    }


def judge(results: Results) -> list[dict[str, Any]]:
    """A row for each hypothesis and backend.

    Args:
        results: cell id -> its result, of done cells.
    """
    rows = []
    for lane, allowance in LANES.items():
        for one in LATENCIES:
            name = f"{one.model} at {one.shape}, FP16 with CUDA graph"
            value = median(results, one.model, lane, one.shape, True)
            explained = why(results, one.model, lane, one.shape)
            rows.append(_row(name, lane, None, one.at_most_ms * allowance, value, "ms", explained))
        single = Shape(1, 128)
        three, six = (median(results, m, lane, single, True) for m in ("minilm-l3", "minilm-l6"))
        ratio = three / six if three is not None and six else None
        name = f"3 layers of MiniLM against 6 at {single}"
        rows.append(_row(name, lane, *HALF, ratio, "ratio", why(results, "minilm-l6", lane, single)))
        for model in ("bert-base", "minilm-l6"):
            fast = median(results, model, lane, single, True)
            slow = median(results, model, "eager-fp32", single, False)
            ratio = slow / fast if slow is not None and fast else None
            name = f"{model} at {single}: FP16 with CUDA graph over torch eager FP32"
            explained = {
                "eager": why(results, model, "eager-fp32", single),
                "graph": why(results, model, lane, single),
            }
            rows.append(_row(name, lane, SPEED_UP, None, ratio, "times", explained))
    return rows
