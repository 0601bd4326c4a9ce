"""The docs' GPU part: a sentence while nothing was run, tables from records of GPUs, nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studies.gpu import expectations, table
from tools import readme_tables

ROOT = Path(__file__).resolve().parent.parent.parent


def figure(graph: bool, p50: float, *flags: str) -> dict[str, Any]:
    """A made-up figure."""
    return {
        "batch": 1,
        "length": 128,
        "cuda_graph": graph,
        "gpu_ms": {"p50": p50},
        "e2e_ms": {"p50": 9.0},
        "flags": list(flags),
    }


def made_up(**changes: Any) -> dict[str, Any]:
    """A record of a GPU that does not exist."""
    cells = {
        "facts": {"gpu": {"driver_version": "1.2"}},
        "headline/bert-base/sdpa-fp16": {"figures": [figure(False, 8.0), figure(True, 7.0, "unstable")]},
        "headline/bert-base/eager-fp32": {"figures": [figure(False, 70.0, "clock_moved")]},
        "sst2/ort-int8": {
            "device": "cpu",
            "comparison": {
                "accuracy": 0.5,
                "difference": -0.01,
                "difference_interval": [-0.02, 0.0],
                "agreement": 0.99,
            },
        },
    }
    return {
        "kind": "paredown-acceptance",
        "schema": 1,
        "device": "cuda",
        "gpu": "Imaginary GPU",
        "identity": {"python": "3.12.3"},
        "counts": {"done": 4, "skipped": 0, "failed": 1, "pending": 2},
        "cells": cells,
        "expectations": expectations.judge(cells),
        **changes,
    }


def test_without_a_record_the_page_says_so() -> None:
    """The sentence, word for word, is on the page as long as the folder holds no record."""
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    if not list((ROOT / readme_tables.GPU).glob("*.json")):
        assert table.NONE in page
        assert table.read(ROOT / readme_tables.GPU) == []
    assert table.render([]) == table.NONE


def test_a_record_becomes_tables() -> None:
    """Both ways of launching side by side, flags named, accuracy with its interval, verdicts with limits."""
    page = table.render([made_up()])
    assert "Imaginary GPU, driver 1.2" in page
    assert "| bert-base | sdpa-fp16 | 1x128 | 8 ms | 7 ms | 9 ms | unstable |" in page
    assert "| ort-int8 | cpu | 50.00 % | -1.00 pt (-2.00 to +0.00) | 99.00 % |" in page
    assert "| at most 0.7 ms | 7 ms | missed |" in page
    assert "hypotheses were not measured" in page
    assert "3 of 7 cells were not measured" in page


def test_spoiled_figures_are_not_shown() -> None:
    """A clock that moved leaves no number behind."""
    page = table.render([made_up()])
    assert "| bert-base | eager-fp32 | 1x128 | spoiled | - |" in page
    assert "| 70 ms" not in page.split("hypothesis")[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"device": "cpu"}, "not measured on a GPU"),
        ({"gpu": None}, "not measured on a GPU"),
        ({"kind": "other"}, "no acceptance record"),
        ({"schema": 2}, "no acceptance record of schema 1"),
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
    found = dict(line.split("==") for line in pins[1:])
    assert found["tensorrt"].split(".")[0] == "10"
    assert {found[name] for name in found if name.startswith("tensorrt")} == {found["tensorrt"]}
    assert "onnxruntime-gpu" in found


def test_records_are_read_in_order(tmp_path: Path) -> None:
    """By name, all of them."""
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(made_up(gpu=name)))
    assert [one["gpu"] for one in table.read(tmp_path)] == ["a", "b"]
