"""The README's part about GPUs: tables from the recorded runs, or the sentence that there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.gpu import expectations, record

NONE = "**Not yet run on a GPU.** No GPU figure is given, and none was estimated from anything else."
_SPOILED = ("clock_moved", "throttled")


def read(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder, in the order of their names.

    Raises:
        ValueError: a file that is no record of this schema, or one that no GPU made.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        if one.get("kind") != record.KIND or one.get("schema") != record.SCHEMA:
            raise ValueError(f"{path.name} is no acceptance record of schema {record.SCHEMA}")
        if one.get("device") != "cuda" or not one.get("gpu"):
            raise ValueError(f"{path.name} was not measured on a GPU and has no place among GPU results")
        found.append(one)
    return found


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of all records, or the sentence that nothing was run."""
    if not records:
        return NONE
    return "\n\n".join(_one(each) for each in records)


def _one(made: Mapping[str, Any]) -> str:
    facts = made["cells"].get("facts", {})
    driver = (facts.get("gpu") or {}).get("driver_version", "unknown")
    python = made["identity"]["python"]
    parts = [f"{made['gpu']}, driver {driver}, Python {python}. GPU time of one inference (p50, by events):"]
    parts += [_latencies(made), _accuracy(made), _verdicts(made)]
    left = made["counts"]["pending"] + made["counts"]["failed"]
    if left:
        parts.append(
            f"{left} of {sum(made['counts'].values())} cells were not measured; the record says why."
        )
    return "\n\n".join(part for part in parts if part)


def _latencies(made: Mapping[str, Any]) -> str:
    lines = [
        "| model | backend | batch x length | without CUDA graph | with | end to end | flags |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for name, cell in made["cells"].items():
        if not name.startswith("headline/"):
            continue
        _, model, lane = name.split("/")
        by_shape: dict[str, dict[bool, Mapping[str, Any]]] = {}
        for figure in cell["figures"]:
            shape = f"{figure['batch']}x{figure['length']}"
            by_shape.setdefault(shape, {})[figure["cuda_graph"]] = figure
        for shape, figures in by_shape.items():
            best = figures.get(True) or figures[False]
            flags = sorted({flag for one in figures.values() for flag in one["flags"]})
            lines.append(
                f"| {model} | {lane} | {shape} | {_ms(figures.get(False))} | {_ms(figures.get(True))} | "
                f"{best['e2e_ms']['p50']:.3g} ms | {', '.join(flags) or '-'} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def _ms(figure: Mapping[str, Any] | None) -> str:
    """A median, or that it should not be used."""
    if figure is None:
        return "-"
    if any(flag.startswith(_SPOILED) for flag in figure["flags"]):
        return "spoiled"
    return f"{figure['gpu_ms']['p50']:.3g} ms"


def _accuracy(made: Mapping[str, Any]) -> str:
    lines = [
        "| SST-2 artifact | ran on | accuracy | change (95 %) | agreement with FP32 |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for name, cell in made["cells"].items():
        if not name.startswith("sst2/"):
            continue
        found = cell["comparison"]
        low, high = (100 * edge for edge in found["difference_interval"])
        lines.append(
            f"| {name.removeprefix('sst2/')} | {cell['device']} | {100 * found['accuracy']:.2f} % | "
            f"{100 * found['difference']:+.2f} pt ({low:+.2f} to {high:+.2f}) | "
            f"{100 * found['agreement']:.2f} % |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def _verdicts(made: Mapping[str, Any]) -> str:
    """What was measured of the hypotheses; what was not is counted."""
    lines = ["| hypothesis | backend | stated | found | |", "| --- | --- | ---: | ---: | --- |"]
    unmeasured = 0
    for one in made["expectations"]:
        if one["status"] == expectations.UNMEASURED:
            unmeasured += 1
            continue
        low, high = one["at_least"], one["at_most"]
        stated = " to ".join(f"{edge:g}" for edge in (low, high) if edge is not None)
        sign = "" if low is not None and high is not None else "at least " if low is not None else "at most "
        lines.append(
            f"| {one['name']} | {one['backend']} | {sign}{stated} {one['unit']} | "
            f"{one['value']:.3g} {one['unit']} | {one['status']} |"
        )
    if unmeasured:
        lines.append(f"\n{unmeasured} hypotheses were not measured.")
    return "\n".join(lines) if len(lines) > 2 else ""
