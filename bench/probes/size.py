"""Bytes on disk: of all files of the artifact, and of its weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bench.probes import Subject
from bench.record.figure import Column, Figure
from bench.record.model import Measurement, Report
from compress.strict import Strict

if TYPE_CHECKING:
    from bench.lanes.lane import Lane
    from compress.artifacts.artifact import Artifact

UNIT = "bytes"
BETTER: Final = "lower"
DEFAULT = True
FRESH = False
FIGURES = (
    Figure(
        "size_bytes",
        columns=(Column("size", rank=40),),
        exact="counted",
        card="Size on disk",
        rank=40,
    ),
    Figure("weights_bytes", rows="nowhere", exact="counted"),
)

_WEIGHTS = (".safetensors", ".onnx", ".onnx.data", ".engine", ".plan")


class Config(Strict):
    """There is nothing to choose."""


def weights_bytes(artifact: Artifact) -> int:
    """Bytes of the files that hold the model itself."""
    files = artifact.manifest.files
    return sum(entry.bytes for name, entry in files.items() if name.endswith(_WEIGHTS))


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """``size_bytes`` (model, tokenizer and all; what is shipped) and ``weights_bytes``."""
    by_name = {lane.name: lane.spec.artifact for lane in lanes}
    measurements = []
    for name, artifact in by_name.items():
        base = by_name[subject.baseline]
        for metric, size, base_size in (
            ("size_bytes", artifact.size_bytes, base.size_bytes),
            ("weights_bytes", weights_bytes(artifact), weights_bytes(base)),
        ):
            measurements.append(
                Measurement(
                    probe="size",
                    candidate=name,
                    metric=metric,
                    value=float(size),
                    unit=UNIT,
                    better=BETTER,
                    ratio=size / base_size if base_size else None,
                )
            )
    return measurements


def explanation(report: Report) -> str:
    """What is counted."""
    return "Size counts every file of the artifact, tokenizer included."
