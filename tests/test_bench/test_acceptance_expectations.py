"""Hypotheses are held, missed or not measured; only GPU figures count; every verdict carries its why."""

from __future__ import annotations

from typing import Any

import pytest

from studies.gpu import expectations, record
from studies.gpu.expectations import HELD, MISSED, UNMEASURED
from studies.gpu.plan import FULL, TINY
from studies.gpu.state import Entry, State


def results(clock: str = "gpu_ms", **times: float) -> dict[str, Any]:
    """Headline cells from ``model__lane__batch`` to a median of made-up milliseconds."""
    found: dict[str, Any] = {}
    for name, value in times.items():
        model, lane, batch = name.replace("_x_", "-").split("__")
        cell = found.setdefault(f"headline/{model}/{lane}", {"figures": [], "facts": {}})
        graph = not lane.startswith("eager")
        cell["figures"].append(
            {"batch": int(batch), "length": 128, "cuda_graph": graph, clock: {"p50": value}}
        )
    return found


def find(rows: list[dict[str, Any]], start: str, backend: str) -> dict[str, Any]:
    """The row of a hypothesis."""
    (row,) = [one for one in rows if one["name"].startswith(start) and one["backend"] == backend]
    return row


@pytest.mark.parametrize(("value", "status"), [(0.35, HELD), (0.351, MISSED)])
def test_the_limit_itself_is_held(value: float, status: str) -> None:
    """At most means at most."""
    rows = expectations.judge(results(bert_x_base__trt_x_fp16__1=value))
    row = find(rows, "bert-base at 1x128, FP16", "trt-fp16")
    assert (row["status"], row["value"], row["at_most"]) == (status, value, 0.35)
    assert find(rows, "bert-base at 32x128", "trt-fp16")["status"] == UNMEASURED


def test_others_than_tensorrt_are_allowed_twice_the_time() -> None:
    """The hypotheses are for native TensorRT; ONNX Runtime and torch were expected up to 2x above."""
    rows = expectations.judge(results(bert_x_base__ort_x_fp16__1=0.7, bert_x_base__sdpa_x_fp16__1=0.71))
    assert find(rows, "bert-base at 1x128, FP16", "ort-fp16")["status"] == HELD
    assert find(rows, "bert-base at 1x128, FP16", "sdpa-fp16")["status"] == MISSED


def test_three_layers_are_about_half_of_six() -> None:
    """A ratio in the band is held, one outside is missed, on either side."""
    for three, status in ((0.5, HELD), (0.7, MISSED), (0.3, MISSED)):
        rows = expectations.judge(results(minilm_x_l3__trt_x_fp16__1=three, minilm_x_l6__trt_x_fp16__1=1.0))
        assert find(rows, "3 layers", "trt-fp16")["status"] == status


def test_the_speed_up_is_over_eager_fp32_without_a_graph() -> None:
    """Six times is held; without the eager figure nothing is said."""
    fast = {"bert_x_base__sdpa_x_fp16__1": 1.0}
    rows = expectations.judge(results(**fast, bert_x_base__eager_x_fp32__1=6.0))
    assert find(rows, "bert-base at 1x128: FP16", "sdpa-fp16")["status"] == HELD
    rows = expectations.judge(results(**fast))
    assert find(rows, "bert-base at 1x128: FP16", "sdpa-fp16")["status"] == UNMEASURED


def test_times_of_a_cpu_prove_nothing() -> None:
    """A figure by the CPU's clock leaves every hypothesis unmeasured."""
    rows = expectations.judge(results("cpu_ms", bert_x_base__trt_x_fp16__1=0.1))
    assert {row["status"] for row in rows} == {UNMEASURED}


def test_a_miss_is_explained_from_the_numbers() -> None:
    """Kernels a layer, time in kernels, gaps and the time without a graph stand beside the verdict."""
    found = results(bert_x_base__sdpa_x_fp16__1=2.0)
    found["headline/bert-base/sdpa-fp16"]["figures"].append(
        {"batch": 1, "length": 128, "cuda_graph": False, "gpu_ms": {"p50": 5.0}}
    )
    found["kernels/bert-base/sdpa-fp16"] = {
        "shapes": {"1x128": {"kernels_a_layer": 14.0, "busy_ms": 1.5, "gap_ms": 3.5, "fused_attention": 12.0}}
    }
    why = find(expectations.judge(found), "bert-base at 1x128, FP16", "sdpa-fp16")["why"]
    assert why == {
        "kernels_a_layer": 14.0,
        "busy_ms": 1.5,
        "gap_ms": 3.5,
        "fused_attention": 12.0,
        "gpu_ms_without_graph": 5.0,
    }


def test_every_hypothesis_has_a_cell_that_explains_it() -> None:
    """The plan counts the kernels of each lane and model that the hypotheses are about, at their shapes."""
    cells = {cell.id: cell for cell in FULL.cells()}
    for lane in (*expectations.LANES, "eager-fp32"):
        for one in expectations.LATENCIES:
            shapes = cells[f"kernels/{one.model}/{lane}"].params["shapes"]
            assert [one.shape.batch, one.shape.length] in shapes, (one, lane)


def test_memory_is_split_in_four_and_less_the_context() -> None:
    """File, weights, activations of the largest shape, and the process less an empty one."""
    cells = {
        "context": {"nvml_process_bytes": 500},
        "headline/deep/sdpa-fp16": {
            "memory": {
                "by_shape": {
                    "1x8": {"file_bytes": None, "weights_bytes": 100, "activations_bytes": 7},
                    "2x8": {"file_bytes": None, "weights_bytes": 100, "activations_bytes": 9},
                },
                "process": {"nvml_process_bytes": 650, "resident_bytes": 3},
            }
        },
    }
    (row,) = record.split(cells)
    assert row["weights_bytes"] == 100
    assert row["activations_bytes"] == 9
    assert row["file_bytes"] is None
    assert row["process_less_context_bytes"] == 150
    (row,) = record.split({name: cell for name, cell in cells.items() if name != "context"})
    assert row["process_less_context_bytes"] is None


def test_the_record_says_what_is_not_there_and_why() -> None:
    """Done cells with their results, all others with status and reason, and counts of both."""
    cells = TINY.cells()[:3]
    found = State(
        {"gpu": None},
        cells={"facts": Entry("done", result={"a": 1}), "context": Entry("skipped", reason="r")},
    )
    made = record.make(TINY, "cpu", found, cells)
    assert made["cells"]["facts"]["a"] == 1
    assert made["not_done"]["context"] == {"status": "skipped", "reason": "r"}
    assert made["not_done"][cells[2].id] == {"status": "pending", "reason": "not begun"}
    assert made["counts"] == {"done": 1, "skipped": 1, "failed": 0, "pending": 1}
