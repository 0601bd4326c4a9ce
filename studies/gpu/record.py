"""The one JSON: every cell with its figures, what is missing and why, the verdicts on the hypotheses."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from studies.gpu import expectations
from studies.gpu.plan import Cell, Device, Plan
from studies.gpu.state import Entry, State

SCHEMA = 2
KIND = "paredown-acceptance"
STATUSES = ("done", "skipped", "failed", "pending")
NOTES = (
    "Every figure is one of a report of 'paredown bench', without its samples; the report itself lies beside "
    "the record, under reports.",
    "Clocks are recorded and never set; figures flagged spoiled should not be used.",
    "Shapes are timed with random weights and token ids of drawn rows, without padding; only trained/ cells "
    "run a fine-tuned model.",
)


def make(plan: Plan, device: Device, progress: State, cells: list[Cell]) -> dict[str, Any]:
    """The record of everything so far.

    Args:
        plan: of the run.
        device: that it ran on.
        progress: the state.
        cells: all of them, in order.
    """
    entries = {cell.id: progress.cells.get(cell.id, Entry()) for cell in cells}
    results = {
        name: entry.result
        for name, entry in entries.items()
        if entry.status == "done" and entry.result is not None
    }
    counts = Counter(entry.status for entry in entries.values())
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device,
        "gpu": progress.identity.get("gpu"),
        "identity": progress.identity,
        "plan": plan.describe(),
        "calls": progress.calls,
        "counts": {status: counts.get(status, 0) for status in STATUSES},
        "expectations": expectations.judge(results),
        "not_done": {
            name: {"status": entry.status, "reason": entry.reason or "not begun"}
            for name, entry in entries.items()
            if entry.status != "done"
        },
        "cells": {
            cell.id: {
                "command": " ".join(("paredown", *cell.words)),
                "seconds": entry.seconds,
                "tries": entry.tries,
                "call": entry.call,
                **(entry.result or {}),
            }
            for cell, entry in zip(cells, entries.values(), strict=True)
            if entry.status == "done"
        },
        "notes": list(NOTES),
    }
