"""Hypotheses are held, missed or not measured; only GPU figures count; verdicts carry their why."""

from __future__ import annotations

from typing import Any

import pytest

from studies.gpu import expectations, record
from studies.gpu.expectations import HELD, MISSED, UNMEASURED
from studies.gpu.plan import FULL, TINY, Expected
from studies.gpu.state import Entry, State

Point = tuple[str, str, str, int, float]


def results(*points: Point, metric: str = "gpu_p50_ms", **changes: Any) -> dict[str, Any]:
    """Cells from (cell, candidate, graph, batch, made-up milliseconds)."""
    cells: dict[str, Any] = {}
    for cell, candidate, graph, batch, value in points:
        conditions = {"batch_size": batch, "length": 128, "graph": graph}
        figure = {"candidate": candidate, "metric": metric, "value": value, "conditions": conditions}
        cells.setdefault(cell, {"figures": []})["figures"].append({**figure, "flags": [], **changes})
    return cells


def fast(model: str, lane: str, value: float, batch: int = 1) -> Point:
    """A headline figure with a CUDA graph."""
    return (f"headline/{model}/{lane}", lane, "yes", batch, value)


def slow(model: str, lane: str, value: float) -> Point:
    """Eager FP32 in the same report."""
    return (f"headline/{model}/{lane}", "eager-fp32", "no", 1, value)


def find(rows: list[dict[str, Any]], start: str, lane: str) -> dict[str, Any]:
    """The row of a hypothesis."""
    (row,) = [row for row in rows if row["name"].startswith(start) and row["lane"] == lane]
    return row


@pytest.mark.parametrize(("value", "status"), [(0.35, HELD), (0.351, MISSED)])
def test_the_limit_itself_is_held(value: float, status: str) -> None:
    """At most means at most."""
    rows = expectations.judge(results(fast("bert-base", "trt-fp16", value)))
    row = find(rows, "bert-base at 1x128, FP16", "trt-fp16")
    assert (row["status"], row["value"], row["at_most"]) == (status, value, 0.35)
    assert find(rows, "bert-base at 32x128", "trt-fp16")["status"] == UNMEASURED


def test_others_than_tensorrt_are_allowed_twice_the_time() -> None:
    """The hypotheses are for native TensorRT; ONNX Runtime and torch were expected up to 2x above."""
    figures = results(fast("bert-base", "ort-fp16", 0.7), fast("bert-base", "sdpa-fp16", 0.71))
    rows = expectations.judge(figures)
    assert find(rows, "bert-base at 1x128, FP16", "ort-fp16")["status"] == HELD
    assert find(rows, "bert-base at 1x128, FP16", "sdpa-fp16")["status"] == MISSED


def test_three_layers_are_about_half_of_six() -> None:
    """The product's own ratio, of runs in turns: held in the band, missed on either side of it."""
    for ratio, status in ((0.5, HELD), (0.7, MISSED), (0.3, MISSED)):
        point = ("layers/trt-fp16", "minilm-l3", "yes", 1, 9.0)
        rows = expectations.judge(results(point, ratio=ratio))
        assert find(rows, "3 layers", "trt-fp16")["status"] == status
        assert find(rows, "3 layers", "trt-fp16")["value"] == ratio
    assert find(expectations.judge(results(point)), "3 layers", "trt-fp16")["status"] == UNMEASURED


def test_the_speed_up_is_over_eager_fp32_without_a_graph() -> None:
    """Six times is held, within one report; without the eager figure nothing is said."""
    pair = (fast("bert-base", "sdpa-fp16", 1.0), slow("bert-base", "sdpa-fp16", 6.0))
    rows = expectations.judge(results(*pair))
    assert find(rows, "bert-base at 1x128: FP16", "sdpa-fp16")["status"] == HELD
    rows = expectations.judge(results(pair[0], slow("bert-base", "ort-fp16", 6.0)))
    assert find(rows, "bert-base at 1x128: FP16", "sdpa-fp16")["status"] == UNMEASURED


@pytest.mark.parametrize("changes", [{"metric": "latency_p50_ms"}, {"flags": ["spoiled"]}])
def test_times_of_a_cpu_and_spoiled_ones_prove_nothing(changes: dict[str, Any]) -> None:
    """Only a GPU's own time counts, and only of a run whose clocks stood still."""
    rows = expectations.judge(results(fast("bert-base", "trt-fp16", 0.1), **changes))
    assert {row["status"] for row in rows} == {UNMEASURED}


def test_a_miss_is_explained_from_the_numbers() -> None:
    """Times without a graph, enqueuing, flags, and where the time went stand beside the verdict."""
    cell = "headline/bert-base/ort-fp16"
    cells = results((cell, "ort-fp16", "yes", 1, 2.0), (cell, "ort-fp16", "no", 1, 5.0))
    enqueue = results((cell, "ort-fp16", "no", 1, 4.5), metric="enqueue_p50_ms", flags=["host_bound"])
    placed = {"candidate": "ort-fp16", "metric": "placed_share", "value": 0.9, "flags": [], "notes": ["a"]}
    cells[cell]["figures"] += [*enqueue[cell]["figures"], placed]
    explanation = find(expectations.judge(cells), "bert-base at 1x128, FP16", "ort-fp16")["why"]
    assert explanation == {
        "gpu_ms_without_graph": 5.0,
        "enqueue_ms_without_graph": 4.5,
        "gpu_ms_with_graph": 2.0,
        "flags": ["host_bound"],
        "placed_share": 0.9,
        "operators": ["a"],
    }


def test_every_hypothesis_has_its_cells() -> None:
    """The plan measures each lane and model that the hypotheses are about, at their shapes, on a GPU."""
    cells = {cell.id: cell for cell in FULL.cells("cuda")}
    assert (FULL.deep, FULL.shallow) == (expectations.DEEP, expectations.SHALLOW)
    for lane in expectations.LANES:
        for one in expectations.LATENCIES:
            at = {"batch_size": one.shape.batch, "length": one.shape.length}
            expected = cells[f"headline/{one.model}/{lane}"].expects
            assert Expected(lane, "gpu_p50_ms", {**at, "graph": "yes"}) in expected
            assert Expected("eager-fp32", "gpu_p50_ms", {**at, "graph": "no"}) in expected
        point = {"batch_size": 1, "length": 128, "graph": "yes"}
        assert Expected("minilm-l3", "gpu_p50_ms", point) in cells[f"layers/{lane}"].expects


def test_the_record_says_what_is_not_there_and_why() -> None:
    """Done cells with their command and results, all others with status and reason, and counts of both."""
    cells = TINY.cells("cpu")[:3]
    state = State(
        {"gpu": None},
        cells={"facts": Entry("done", result={"a": 1}), cells[1].id: Entry("skipped", reason="r")},
    )
    report = record.make(TINY, "cpu", state, cells)
    assert report["cells"]["facts"]["a"] == 1
    assert report["cells"]["facts"]["command"] == "paredown doctor --json"
    assert report["not_done"][cells[1].id] == {"status": "skipped", "reason": "r"}
    assert report["not_done"][cells[2].id] == {"status": "pending", "reason": "not begun"}
    assert report["counts"] == {"done": 1, "skipped": 1, "failed": 0, "pending": 1}
