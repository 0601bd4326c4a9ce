"""The docs' part about GPUs: tables from the recorded runs, or the sentence that there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.gpu import expectations, first_schema, record
from studies.gpu.figures import Figure, matching
from studies.gpu.plan import TRAINED

NONE = "**Not yet run on a GPU.** No GPU figure is given, and none was estimated from anything else."


def read(folder: Path) -> list[dict[str, Any]]:
    """Every record of a folder, in the order of their names; those of schema 1 as this schema has them.

    Raises:
        ValueError: a file that is no record of a known schema, or one that no GPU made.
    """
    records = []
    for path in sorted(folder.glob("*.json")):
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree.get("kind") != record.KIND or tree.get("schema") not in (first_schema.SCHEMA, record.SCHEMA):
            raise ValueError(f"{path.name} is no acceptance record of schema 1 or {record.SCHEMA}")
        if tree.get("device") != "cuda" or not tree.get("gpu"):
            raise ValueError(f"{path.name} was not measured on a GPU and has no place among GPU results")
        records.append(first_schema.renewed(tree) if tree["schema"] == first_schema.SCHEMA else tree)
    return records


def render(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of all records, or the sentence that nothing was run."""
    if not records:
        return NONE
    return "\n\n".join(_page(entry) for entry in records)


def _page(acceptance: Mapping[str, Any]) -> str:
    python = acceptance["identity"]["python"]
    parts = [f"{acceptance['gpu']}, Python {python}. GPU time of one inference (p50, by events):"]
    parts += [_latencies(acceptance), _accuracy(acceptance), _verdicts(acceptance)]
    left = acceptance["counts"]["pending"] + acceptance["counts"]["failed"]
    if left:
        parts.append(
            f"{left} of {sum(acceptance['counts'].values())} cells were not measured; the record says why."
        )
    return "\n\n".join(part for part in parts if part)


def _latencies(acceptance: Mapping[str, Any]) -> str:
    lines = [
        "| model | lane | batch x length | without CUDA graph | with | end to end | flags |",
        "| --- | --- | --- | ---: | ---: | ---: | --- |",
    ]
    for name, cell in acceptance["cells"].items():
        if not name.startswith("headline/"):
            continue
        _, model, lane = name.split("/")
        shapes: dict[str, dict[str, int | str]] = {}
        for figure in matching(cell["figures"], lane, "gpu_p50_ms"):
            at = {key: figure["conditions"][key] for key in ("batch_size", "length")}
            shapes[f"{at['batch_size']}x{at['length']}"] = at
        for shape, at in shapes.items():
            ways = {
                way: matching(cell["figures"], lane, "gpu_p50_ms", **at, graph=way) for way in ("no", "yes")
            }
            ends = matching(cell["figures"], lane, "e2e_p50_ms", **at)
            best = [figure for figure in ends if figure["conditions"]["graph"] == "yes"] or ends
            flags = sorted(
                {flag for figures in ways.values() for figure in figures for flag in figure["flags"]}
            )
            lines.append(
                f"| {model} | {lane} | {shape} | {_ms(ways['no'])} | {_ms(ways['yes'])} | {_ms(best)} | "
                f"{', '.join(flags) or '-'} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def _ms(figures: Sequence[Figure]) -> str:
    """A median, or that it should not be used."""
    if not figures:
        return "-"
    return "spoiled" if "spoiled" in figures[0]["flags"] else f"{figures[0]['value']:.3g} ms"


def _accuracy(acceptance: Mapping[str, Any]) -> str:
    lines = [
        "| fine-tuned model | accuracy | change (95 %) | agreement with FP32 |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, cell in acceptance["cells"].items():
        part, _, lane = name.partition("/")
        if part != TRAINED:
            continue
        (accuracy,) = matching(cell["figures"], lane, "accuracy")
        (agreement,) = matching(cell["figures"], lane, "agreement")
        interval = accuracy["difference_interval"]
        low, high = (100 * interval[edge] for edge in ("low", "high"))
        lines.append(
            f"| {lane} | {100 * accuracy['value']:.2f} % | {100 * accuracy['difference']:+.2f} pt "
            f"({low:+.2f} to {high:+.2f}) | {100 * agreement['value']:.2f} % |"
        )
    return "\n".join(lines) if len(lines) > 2 else ""


def _verdicts(acceptance: Mapping[str, Any]) -> str:
    """What was measured of the hypotheses; what was not is counted."""
    lines = ["| hypothesis | lane | stated | found | |", "| --- | --- | ---: | ---: | --- |"]
    unmeasured = 0
    for verdict in acceptance["expectations"]:
        if verdict["status"] == expectations.UNMEASURED:
            unmeasured += 1
            continue
        low, high = verdict["at_least"], verdict["at_most"]
        stated = " to ".join(f"{edge:g}" for edge in (low, high) if edge is not None)
        sign = "" if low is not None and high is not None else "at least " if low is not None else "at most "
        lines.append(
            f"| {verdict['name']} | {verdict['lane']} | {sign}{stated} {verdict['unit']} | "
            f"{verdict['value']:.3g} {verdict['unit']} | {verdict['status']} |"
        )
    if unmeasured:
        lines.append(f"\n{unmeasured} hypotheses were not measured.")
    return "\n".join(lines) if len(lines) > 2 else ""
