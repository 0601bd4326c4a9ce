"""The docs' GPU part: a sentence while nothing was run, tables from records of GPUs, nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.gpu import expectations, table
from tools import readme_tables

ROOT = Path(__file__).resolve().parent.parent.parent


def times(lane: str, graph: str, p50: float, *flags: str) -> list[dict[str, Any]]:
    """Made-up figures of one lane in one way."""
    at = {"batch_size": 1, "length": 128, "graph": graph}
    shared = {"candidate": lane, "unit": "ms", "conditions": at, "flags": list(flags)}
    return [
        {**shared, "metric": "gpu_p50_ms", "value": p50},
        {**shared, "metric": "e2e_p50_ms", "value": 9.0},
    ]


def made_up(**changes: Any) -> dict[str, Any]:
    """A record of a GPU that does not exist."""
    accuracy = {"value": 0.5, "difference": -0.01, "difference_interval": {"low": -0.02, "high": 0.0}}
    cells = {
        "facts": {"machine": {}},
        "headline/bert-base/sdpa-fp16": {
            "figures": [*times("sdpa-fp16", "no", 8.0), *times("sdpa-fp16", "yes", 7.0, "unstable")]
        },
        "headline/bert-base/eager-fp32": {"figures": times("eager-fp32", "no", 70.0, "spoiled")},
        "trained/ort-int8": {
            "figures": [
                {"candidate": "ort-int8", "metric": "accuracy", **accuracy},
                {"candidate": "ort-int8", "metric": "agreement", "value": 0.99},
            ]
        },
    }
    return {
        "kind": "paredown-acceptance",
        "schema": 2,
        "device": "cuda",
        "gpu": "Imaginary GPU",
        "identity": {"python": "3.12.3"},
        "counts": {"done": 4, "skipped": 0, "failed": 1, "pending": 2},
        "cells": cells,
        "expectations": expectations.judge(cells),
        **changes,
    }


def first_schema() -> dict[str, Any]:
    """The same run as a record of schema 1 would hold it."""

    def figure(graph: bool, p50: float, *flags: str) -> dict[str, Any]:
        return {
            "batch": 1,
            "length": 128,
            "cuda_graph": graph,
            "gpu_ms": {"p50": p50},
            "enqueue_ms": None,
            "e2e_ms": {"p50": 9.0},
            "flags": list(flags),
        }

    comparison = {
        "accuracy": 0.5,
        "difference": -0.01,
        "difference_interval": [-0.02, 0.0],
        "agreement": 0.99,
    }
    verdicts = [{**one, "backend": one["lane"]} for one in made_up()["expectations"]]
    cells = {
        "facts": {"gpu": {"driver_version": "1.2"}},
        "headline/bert-base/sdpa-fp16": {"figures": [figure(False, 8.0), figure(True, 7.0, "unstable")]},
        "headline/bert-base/eager-fp32": {"figures": [figure(False, 70.0, "clock_moved")]},
        "sst2/ort-int8": {"device": "cpu", "comparison": comparison},
    }
    return made_up(schema=1, cells=cells, expectations=[{**one, "lane": None} for one in verdicts])


def test_without_a_record_the_page_says_so() -> None:
    """The sentence, word for word, is on the page as long as the folder holds no record."""
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    if not list((ROOT / readme_tables.GPU).glob("*.json")):
        assert table.NONE in page
        assert table.read(ROOT / readme_tables.GPU) == []
    assert table.render([]) == table.NONE


@pytest.mark.parametrize("made", [made_up, first_schema])
def test_a_record_becomes_tables(made: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    """Both ways of launching side by side, flags, accuracy with its interval, verdicts; of either schema."""
    (tmp_path / "a.json").write_text(json.dumps(made()))
    page = table.render(table.read(tmp_path))
    assert "Imaginary GPU, Python 3.12.3" in page
    assert "| bert-base | sdpa-fp16 | 1x128 | 8 ms | 7 ms | 9 ms | unstable |" in page
    assert "| ort-int8 | 50.00 % | -1.00 pt (-2.00 to +0.00) | 99.00 % |" in page
    assert "| sdpa-fp16 | at most 0.7 ms | 7 ms | missed |" in page
    assert "hypotheses were not measured" in page
    assert "3 of 7 cells were not measured" in page


@pytest.mark.parametrize("made", [made_up, first_schema])
def test_spoiled_figures_are_not_shown(made: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    """A clock that moved leaves no number behind."""
    (tmp_path / "a.json").write_text(json.dumps(made()))
    page = table.render(table.read(tmp_path))
    assert "| bert-base | eager-fp32 | 1x128 | spoiled | - | spoiled | spoiled |" in page
    assert "| 70 ms" not in page.split("hypothesis")[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": "cpu"}, "not measured on a GPU"),
        ({"gpu": None}, "not measured on a GPU"),
        ({"kind": "other"}, "no acceptance record"),
        ({"schema": 3}, "no acceptance record of schema 1 or 2"),
    ],
)
def test_what_no_gpu_made_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """A record of a CPU, or something else, cannot stand among GPU results."""
    (tmp_path / "a.json").write_text(json.dumps(made_up(**changes)))
    with pytest.raises(ValueError, match=reason):
        table.read(tmp_path)


def test_the_gpu_constraints_are_exact_and_hold_tensorrt_at_ten() -> None:
    """ONNX Runtime's provider links TensorRT 10; every line pins one version, on top of the common ones."""
    lines = (ROOT / "constraints-gpu.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins[0] == "-c constraints.txt"
    versions = dict(line.split("==") for line in pins[1:])
    assert versions["tensorrt"].split(".")[0] == "10"
    assert {versions[name] for name in versions if name.startswith("tensorrt")} == {versions["tensorrt"]}
    assert "onnxruntime-gpu" in versions


def test_records_are_read_in_order(tmp_path: Path) -> None:
    """By name, all of them."""
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(made_up(gpu=name)))
    assert [record["gpu"] for record in table.read(tmp_path)] == ["a", "b"]
