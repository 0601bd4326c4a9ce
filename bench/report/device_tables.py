"""What was measured on a GPU, as tables that the terminal, Markdown and HTML show alike."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record.model import Measurement, Report
from bench.report import summary

_PARTS = ("file", "weights", "activations", "reserved", "process", "context")


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: above it.
        header: of its columns.
        rows: the cells.
        left: how many columns from the left hold words; the rest are figures.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    left: int


def tables(report: Report) -> list[Table]:
    """Times and memory on the GPU; nothing for a run on a CPU."""
    return [one for one in (times(report), memory(report)) if one.rows]


def times(report: Report) -> Table:
    """GPU, enqueue and end-to-end time, with flags, for every point, candidate and way."""
    rows = []
    for one in report.measurements:
        if one.metric != "gpu_p50_ms":
            continue

        def other(metric: str, one: Measurement = one) -> Measurement | None:
            return report.find(one.candidate, metric, **one.conditions)

        point = {name: value for name, value in one.conditions.items() if name != "graph"}
        energy = report.find(one.candidate, "device_energy_per_row_mj", **point)
        rows.append(
            [
                summary.where(point),
                one.candidate,
                str(one.conditions["graph"]),
                summary.time(one),
                summary.time(other("gpu_p95_ms")),
                summary.time(other("enqueue_p50_ms")),
                summary.time(other("e2e_p50_ms")),
                summary.times(summary.speedup(one)),
                f"{summary.digits(energy.value)} mJ" if energy else summary.NONE,
                ", ".join(one.flags.raised) or summary.NONE,
            ]
        )
    header = [
        *("where", "candidate", "graph"),
        *("GPU p50", "GPU p95", "enqueue p50", "end to end p50", "speed-up", "energy a row", "flags"),
    ]
    return Table("Time on the GPU", header, rows, left=3)


def memory(report: Report) -> Table:
    """The four figures of every candidate, and what an empty context holds."""
    rows = []
    for candidate in report.candidates:
        found = {part: report.find(candidate.name, f"device_memory_{part}_bytes") for part in _PARTS}
        if any(found.values()):
            cells = [summary.memory(one.value) if one else summary.NONE for one in found.values()]
            rows.append([candidate.name, *cells])
    header = ["candidate", "file", "weights", "activations", "reserved", "process less context", "context"]
    return Table("Memory on the GPU", header, rows, left=1)
