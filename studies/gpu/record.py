"""The one JSON: every cell, what is missing and why, the memory split, the verdicts on the hypotheses."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from typing import Any

from studies.gpu import expectations
from studies.gpu.plan import Cell, Plan
from studies.gpu.state import Entry, State

SCHEMA = 1
KIND = "paredown-acceptance"
STATUSES = ("done", "skipped", "failed", "pending")
NOTES = (
    "gpu_ms: device events around one inference, inputs resident; enqueue_ms: the host's part of it; "
    "e2e_ms: pinned copy in, run, copy out, wait. The three are never mixed.",
    "rows_per_s is a run of its own without waiting between inferences; its n counts windows.",
    "Clocks are recorded and never set. clock_moved and throttled mark figures that should not be used.",
    "Shapes are timed with random weights and random full-length token ids (no padding); only sst2/ cells "
    "run a trained model.",
    "Torch gets no mask at batch 1 and an additive mask above.",
)


def split(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The four numbers of memory, by cell: file, weights, activations, process less an empty context."""
    empty = results.get("context", {}).get("nvml_process_bytes")
    rows = []
    for name, result in results.items():
        memory = result.get("memory")
        if not memory or "process" not in memory:
            continue
        process = memory["process"].get("nvml_process_bytes")
        shapes = memory["by_shape"].values()
        rows.append(
            {
                "cell": name,
                "file_bytes": _largest(shapes, "file_bytes"),
                "weights_bytes": _largest(shapes, "weights_bytes"),
                "activations_bytes": _largest(shapes, "activations_bytes"),
                "process_bytes": process,
                "context_bytes": empty,
                "process_less_context_bytes": None if process is None or empty is None else process - empty,
                "resident_bytes": memory["process"].get("resident_bytes"),
            }
        )
    return rows


def _largest(shapes: Any, name: str) -> int | None:
    known = [one[name] for one in shapes if one.get(name) is not None]
    return max(known, default=None)


def make(plan: Plan, device: str, found: State, cells: list[Cell]) -> dict[str, Any]:
    """The record of everything so far.

    Args:
        plan: of the run.
        device: that it ran on.
        found: the state.
        cells: all of them, in order.
    """
    entries = {cell.id: found.cells.get(cell.id, Entry()) for cell in cells}
    results = {
        name: entry.result
        for name, entry in entries.items()
        if entry.status == "done" and entry.result is not None
    }
    counts = Counter(entry.status for entry in entries.values())
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),  # noqa: UP017 - Python 3.10
        "device": device,
        "gpu": found.identity.get("gpu"),
        "identity": found.identity,
        "plan": plan.describe(),
        "calls": found.calls,
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "expectations": expectations.judge(results),
        "memory": split(results),
        "not_done": {
            name: {"status": entry.status, "reason": entry.reason or "not begun"}
            for name, entry in entries.items()
            if entry.status != "done"
        },
        "cells": {
            name: {
                "seconds": entry.seconds,
                "tries": entry.tries,
                "call": entry.call,
                "device_around": entry.around,
                **(entry.result or {}),
            }
            for name, entry in entries.items()
            if entry.status == "done"
        },
        "notes": list(NOTES),
    }
