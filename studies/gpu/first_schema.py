"""Records of schema 1, which had runners and statistics of its own, under the names of the product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.gpu.plan import TRAINED

SCHEMA = 1
_TIMES = {"gpu_ms": "gpu", "enqueue_ms": "enqueue", "e2e_ms": "e2e"}
_STATISTICS = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "mean": "mean", "min": "min"}
_SPOILED = ("clock_moved", "throttled")


def renewed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of schema 1 with cells and figures as schema 2 has them; what has no name there stays."""
    cells: dict[str, Any] = {}
    for name, cell in record["cells"].items():
        part, _, address = name.partition("/")
        lane = address.rpartition("/")[2]
        if part in ("headline", "grid"):
            figures = [figure for old in cell["figures"] for figure in _times(lane, old)]
            cells[name] = {**cell, "figures": figures}
        elif part == "sst2":
            cells[f"{TRAINED}/{lane}"] = {**cell, "figures": _answers(lane, cell["comparison"])}
        else:
            cells[name] = cell
    verdicts = [{**verdict, "lane": verdict["backend"]} for verdict in record["expectations"]]
    return {**record, "cells": cells, "expectations": verdicts}


def _times(lane: str, old: Mapping[str, Any]) -> list[dict[str, Any]]:
    at = {"batch_size": old["batch"], "length": old["length"], "graph": "yes" if old["cuda_graph"] else "no"}
    flags = ["spoiled" if flag.startswith(_SPOILED) else flag for flag in old["flags"]]
    return [
        {
            "candidate": lane,
            "metric": f"{part}_{statistic}_ms",
            "value": old[name][key],
            "unit": "ms",
            "conditions": at,
            "flags": flags,
        }
        for name, part in _TIMES.items()
        if old.get(name)
        for key, statistic in _STATISTICS.items()
        if key in old[name]
    ]


def _answers(lane: str, old: Mapping[str, Any]) -> list[dict[str, Any]]:
    low, high = old["difference_interval"]
    accuracy = {
        "value": old["accuracy"],
        "difference": old["difference"],
        "difference_interval": {"low": low, "high": high},
    }
    shared = {"candidate": lane, "unit": "share", "conditions": {}, "flags": []}
    return [
        {**shared, "metric": "accuracy", **accuracy},
        {**shared, "metric": "agreement", "value": old["agreement"]},
    ]
