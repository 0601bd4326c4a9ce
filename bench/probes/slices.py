"""The metric in parts of the data, before and after: label, length, confidence and columns of one's own.

Each slice has a paired interval and a p-value, corrected for how many slices there are (Holm;
Benjamini and Hochberg). Slices with too few rows are listed and not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pydantic import Field

from bench.answers import asking
from bench.answers.asking import DamageConfig
from bench.findings import slices
from bench.probes import Subject
from bench.record.figure import Figure
from bench.record.model import Measurement

if TYPE_CHECKING:
    from bench.lanes.lane import Lane

UNIT = "share"
BETTER: Final = "higher"
DEFAULT = False
FRESH = False
FIGURES = (Figure("worst_slice", rows="nowhere", found=frozenset({"slice", "rows"})),)


class Config(DamageConfig):
    """Options.

    Attributes:
        columns: of the evaluation rows, each cut by its values (by quarters where it holds many numbers).
        min_rows: that a slice needs to be judged.
    """

    columns: tuple[str, ...] = ()
    min_rows: int = Field(default=20, ge=2, le=10**7)


def measure(lanes: Sequence[Lane], subject: Subject, config: Config) -> list[Measurement]:
    """The slice with the worst change, of every candidate but the baseline; all slices in the finding.

    Raises:
        DataError: no labels, a column that is not there, or no slice that is large enough.
    """
    measurements = []
    for ask in asking.candidates(lanes, subject, config, "slices"):
        finding = slices.find(
            ask.evaluation(),
            subject.task,
            ask.lengths(),
            config.columns,
            config.min_rows,
            asking.generator(subject, 22),
        )
        worst = finding.slices[0]
        measurements.append(
            Measurement(
                probe="slices",
                candidate=ask.name,
                metric="worst_slice",
                value=worst.after,
                unit=finding.unit,
                better=finding.better,
                difference=worst.difference,
                difference_interval=worst.simultaneous,
                conditions={
                    "slice": f"{worst.family}: {worst.name}",
                    "rows": worst.rows,
                    "batch_size": ask.size,
                },
                notes=tuple(
                    f"not judged, with {part.rows} rows (of {finding.min_rows}): {part.family} {part.name}"
                    for part in finding.small
                )
                + finding.notes,
                finding=finding,
            )
        )
    return measurements
