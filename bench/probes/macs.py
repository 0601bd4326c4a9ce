"""Multiply-accumulates of one row, and parameters: from the model itself, at a stated shape.

Counted, not timed, so that they are the same on every machine. PyTorch models are counted by
PyTorch's own counter with plain attention; ONNX graphs by the shapes of their matrix products and
convolutions (``bench.probes._graph_costs``). Both count products only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from pydantic import Field

from bench.lanes import feeds
from bench.lanes.feeds import DATA, Point
from bench.probes import Subject, _graph_costs
from bench.probes._graph_costs import Costs
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from compress import log
from compress.model import checkpoint
from compress.strict import Strict

if TYPE_CHECKING:
    import numpy as np

    from bench.lanes.lane import Lane

UNIT = "count"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False
FIGURES = (
    Figure("macs", "MACs", (Column("MACs", rank=60, wide=True),), rows="page", exact="counted"),
    Figure("parameters", columns=(Column("parameters", rank=61, wide=True),), rows="page", exact="counted"),
)

_LENGTHS = {"tokens": 128, "samples": 16_000}


class Config(Strict):
    """Options.

    Attributes:
        length: tokens, or samples of sound; when absent 128 tokens or a second at 16 kHz, or the smallest
            length limit among the candidates if that is less.
    """

    length: int | None = Field(default=None, ge=1, le=10**6)


def torch_costs(lane: Lane, subject: Subject, feed: dict[str, np.ndarray]) -> Costs:
    """Costs of a PyTorch model at one feed, by one run on the CPU."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = checkpoint.load(lane.spec.artifact.path, subject.task, attention="eager")
    counter = FlopCounterMode(display=False)
    # The counter cannot take a weight norm apart (wav2vec2) in inference mode.
    with torch.no_grad(), counter:
        model(**{name: torch.from_numpy(array) for name, array in feed.items()})
    parameters = sum(parameter.numel() for parameter in model.parameters())
    # The counter takes a multiplication and an addition for two operations.
    return Costs(macs=counter.get_total_flops() // 2, parameters=parameters, uncounted=())


def costs(lane: Lane, subject: Subject, feed: dict[str, np.ndarray]) -> Costs | None:
    """Costs of a candidate; None for a kind that cannot be looked into (a compiled engine)."""
    if lane.spec.artifact.kind == "torch":
        return torch_costs(lane, subject, feed)
    if lane.spec.artifact.kind == "onnx":
        return _graph_costs.measure(lane.spec.artifact.file("model.onnx"), feed)
    return None


def _point(lanes: Sequence[Lane], subject: Subject, config: Config) -> Point:
    if feeds.own(lanes[0], subject).spec.length_axis is None:
        return Point(1, DATA)
    usual = _LENGTHS.get(subject.task.UNIT, _LENGTHS["tokens"])
    limits = [feeds.own(lane, subject).max_length for lane in lanes]
    allowed = min([limit for limit in limits if limit is not None], default=usual)
    return Point(1, config.length or min(usual, allowed), subject.task.UNIT)


def _record(name: str, metric: str, count: int, base: int | None, **more: Any) -> Measurement:
    return Measurement(
        probe="macs",
        candidate=name,
        metric=metric,
        value=float(count),
        unit=UNIT,
        better=BETTER,
        ratio=count / base if base else None,
        **more,
    )


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """``macs`` at the stated shape, and ``parameters``, of every candidate that can be looked into."""
    point = _point(lanes, subject, config)
    by_name: dict[str, Costs] = {}
    with log.progress("macs", len(lanes)) as bar:
        for lane in lanes:
            counted = costs(lane, subject, feeds.at(lane, subject, point, 1).arrays[0])
            if counted is not None:
                by_name[lane.name] = counted
            bar.advance(1, lane.name)
    base = by_name.get(subject.baseline)
    measurements = []
    for name, counts in by_name.items():
        notes = (f"not counted: {', '.join(counts.uncounted)}",) if counts.uncounted else ()
        measurements += [
            _record(
                name,
                "macs",
                counts.macs,
                base.macs if base else None,
                conditions=point.conditions,
                notes=notes,
            ),
            _record(name, "parameters", counts.parameters, base.parameters if base else None),
        ]
    return measurements


def explanation(report: Report) -> str:
    """The shape that was counted for."""
    counted = next((measurement for measurement in report.measurements if measurement.metric == "macs"), None)
    length = counted.conditions.get("length") if counted else None
    unit = counted.conditions.get("unit", "tokens") if counted else ""
    size = f" of {length} {unit}" if isinstance(length, int) else ""
    return f"Multiply-accumulates are counted, not timed, for one row{size}."
