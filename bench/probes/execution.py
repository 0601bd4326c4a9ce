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
    Figure("*_product_share", rows="page"),
    Figure("*_time_share", rows="page"),
    Figure("placed_share", rows="page"),
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
    whole = sum(one.microseconds for one in nodes)
    products = [one for one in nodes if one.product]
    multiplied = sum(one.microseconds for one in products)
    found = {}
    there = {one.precision for one in nodes}
    for precision in (*PRECISIONS, *(one for one in _WHERE_THERE if one in there)):
        if multiplied:
            own = sum(one.microseconds for one in products if one.precision == precision)
            found[f"{precision}_product_share"] = own / multiplied
        if whole:
            own = sum(one.microseconds for one in nodes if one.precision == precision)
            found[f"{precision}_time_share"] = own / whole
    if whole:
        found["placed_share"] = sum(one.microseconds for one in nodes if one.provider == provider) / whole
    return found


def listing(nodes: Sequence[NodeTime]) -> tuple[str, ...]:
    """One line an operator, provider and precision: how many nodes, and their share of the time."""
    whole = sum(one.microseconds for one in nodes) or 1.0
    grouped: dict[tuple[str, str, str], list[float]] = {}
    for one in nodes:
        grouped.setdefault((one.op, one.precision, one.provider), []).append(one.microseconds)
    ordered = sorted(grouped.items(), key=lambda pair: -sum(pair[1]))
    lines = [
        f"{len(times)} x {op} in {precision} on {provider}: {100 * sum(times) / whole:.1f} % of the time"
        for (op, precision, provider), times in ordered[:_LISTED]
    ]
    rest = sum(len(times) for _, times in ordered[_LISTED:])
    return (*lines, *((f"and {rest} nodes of {len(ordered) - _LISTED} other kinds",) if rest else ()))


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """Shares of time of every candidate whose runtime can say what it ran."""
    point = Point(subject.bench.batch_sizes[0], feeds.DATA)
    found = []
    with log.progress("execution", len(lanes)) as bar:
        for lane in lanes:
            lane.keep("execution", feeds.at(lane, subject, point, config.runs).arrays)
            nodes = lane.nodes("execution")
            lane.drop("execution")
            bar.advance(1, lane.name)
            if nodes is None:
                log.detail("candidate '%s' (%s) cannot say what it ran", lane.name, lane.spec.runtime)
                continue
            said = listing(nodes)
            for metric, value in shares(nodes, lane.opened.provenance.get("provider", "")).items():
                found.append(
                    Measurement(
                        probe="execution",
                        candidate=lane.name,
                        metric=metric,
                        value=value,
                        unit=UNIT,
                        better="lower" if metric.startswith(("fp32", UNKNOWN)) else BETTER,
                        conditions=point.conditions,
                        notes=said if metric == "placed_share" else (),
                    )
                )
    return found


def explanation(report: Report) -> str:
    """Where the shares come from."""
    return (
        "Shares of the time in INT8, FP16 and FP32 come from the runtime's own profile of a separate "
        "pass, which is in no timing."
    )
