"""What a probe is: it measures all candidates at once and judges nothing.

A probe is a module in this folder. It gets every candidate's lane together, so that it can measure
them in turns; it keeps raw samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from types import ModuleType

    from pydantic import BaseModel

    from bench.lanes.lane import Lane
    from bench.record.model import Measurement
    from compress.recipe import BenchConfig
    from compress.tasks import Head


@dataclass(frozen=True)
class Subject:
    """What is measured on.

    Attributes:
        task: the task module.
        rows: labelled evaluation rows, in order.
        head: of the baseline; every candidate's is the same.
        bench: the grid, rounds and runs.
        baseline: name of the baseline candidate.
        seed: of shuffles and resamples.
        selection: gives labeled rows that tune (a temperature, say) and that are none of ``rows``; None
            where only rows to measure on were given.
    """

    task: ModuleType
    rows: Sequence[dict[str, Any]]
    head: Head
    bench: BenchConfig
    baseline: str
    seed: int
    selection: Callable[[], Sequence[dict[str, Any]]] | None = None


class Probe(Protocol):
    """The names that a probe module defines.

    It may also define ``unavailable() -> str | None``, why this machine cannot measure it, which the report
    then says; and ``extend(lanes, subject, config, found, at)``, which measures more at some points while a
    verdict is open (see ``bench.verdicts.extension``). Rows or answers of which it can say nothing it refuses
    with ``NothingToMeasure``: the report then has the reason in place of figures. A probe that lists rows for
    a person to read names the options that say how many in ``LISTS``: 0 where a report shall hold none.

    Attributes:
        Config: its options (frozen pydantic, unknown keys refused).
        UNIT: of its main figure.
        BETTER: ``lower`` or ``higher``.
        DEFAULT: whether it runs when no probes are named.
        FRESH: whether it wants processes that have run nothing yet; such probes go first.
    """

    Config: type[BaseModel]
    UNIT: str
    BETTER: str
    DEFAULT: bool
    FRESH: bool

    @staticmethod
    def measure(lanes: Sequence[Lane], subject: Subject, config: Any) -> list[Measurement]:
        """Figures of every candidate, in the order of the lanes."""
        ...
