"""Proof of execution: which share of the time ran in INT8, FP16 or FP32, and on the provider asked for.

From the runtime's own profile of a separate pass, which is in no other figure. ``PRECISION_product_share`` is
the share of the time of matrix products (what precision is for) in that precision, ``PRECISION_time_share``
of all the time; ``placed_share`` is the share of the time on the provider that was asked for. Which operators
ran where is in the notes. Time in layers whose inside the runtime does not show is ``unknown``. A runtime
that cannot say anything gives no figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import Field

from bench.lanes import feeds
from bench.lanes.feeds import Point
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement, Report
from compress import log
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from deploy.node_time import NodeTime

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = True
FRESH = False
FIGURES = (
    Figure("*_product_share", "time of products in {}", rows="page"),
    Figure("*_time_share", "time in {}", rows="page"),
    Figure("placed_share", "time on the provider asked for", rows="page"),
)

PRECISIONS = ("int8", "fp16", "bf16", "fp32")
UNKNOWN = "unknown"
_WHERE_THERE = ("fp8", "tf32", UNKNOWN)
_LISTED = 12


class Config(Strict):
    """Options.

    Attributes:
        runs: of the pass.
    """

    runs: int = Field(default=16, ge=3, le=10_000)


def shares(nodes: Sequence[NodeTime], provider: str) -> dict[str, float]:
    """Shares of the time, by precision and on the provider; those of products where there are any.

    Args:
        nodes: that ran.
        provider: that was asked for.
    """
    total = sum(node.microseconds for node in nodes)
    products = [node for node in nodes if node.product]
    multiplied = sum(node.microseconds for node in products)
    figures = {}
    precisions = {node.precision for node in nodes}
    for precision in (*PRECISIONS, *(name for name in _WHERE_THERE if name in precisions)):
        if multiplied:
            microseconds = sum(node.microseconds for node in products if node.precision == precision)
            figures[f"{precision}_product_share"] = microseconds / multiplied
        if total:
            microseconds = sum(node.microseconds for node in nodes if node.precision == precision)
            figures[f"{precision}_time_share"] = microseconds / total
    if total:
        figures["placed_share"] = (
            sum(node.microseconds for node in nodes if node.provider == provider) / total
        )
    return figures


def listing(nodes: Sequence[NodeTime]) -> tuple[str, ...]:
    """One line an operator, provider and precision: how many nodes, and their share of the time."""
    total = sum(node.microseconds for node in nodes) or 1.0
    grouped: dict[tuple[str, str, str], list[float]] = {}
    for node in nodes:
        grouped.setdefault((node.op, node.precision, node.provider), []).append(node.microseconds)
    ordered = sorted(grouped.items(), key=lambda pair: -sum(pair[1]))
    lines = [
        f"{len(times)} x {op} in {precision} on {provider}: {100 * sum(times) / total:.1f} % of the time"
        for (op, precision, provider), times in ordered[:_LISTED]
    ]
    unlisted = sum(len(times) for _, times in ordered[_LISTED:])
    return (*lines, *((f"and {unlisted} nodes of {len(ordered) - _LISTED} other kinds",) if unlisted else ()))


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Shares of time of every candidate whose runtime can say what it ran."""
    point = Point(subject.bench.batch_sizes[0], feeds.DATA)
    measurements = []
    with log.progress("execution", len(lanes)) as bar:
        for lane in lanes:
            lane.keep("execution", feeds.at(lane, subject, point, config.runs).arrays)
            nodes = lane.nodes("execution")
            lane.drop("execution")
            bar.advance(1, lane.name)
            if nodes is None:
                log.detail("candidate '%s' (%s) cannot say what it ran", lane.name, lane.spec.runtime)
                continue
            lines = listing(nodes)
            for metric, value in shares(nodes, lane.opened.provenance.get("provider", "")).items():
                measurements.append(
                    Measurement(
                        probe="execution",
                        candidate=lane.name,
                        metric=metric,
                        value=value,
                        unit=UNIT,
                        better="lower" if metric.startswith(("fp32", UNKNOWN)) else BETTER,
                        conditions=point.conditions,
                        notes=lines if metric == "placed_share" else (),
                    )
                )
    return measurements


def explanation(report: Report) -> str:
    """Where the shares come from."""
    return (
        "Shares of the time in INT8, FP16 and FP32 come from the runtime's own profile of a separate "
        "pass, which is in no timing."
    )
