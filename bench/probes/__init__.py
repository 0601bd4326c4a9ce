"""What a probe is: it measures all candidates at once and judges nothing.

A probe is a module in this folder. It gets every candidate's lane together, so that it can measure
them in turns; it keeps raw samples.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel

from bench.record.figure import Figure, closest
from compress import catalog, log, tasks
from compress.contract import optional
from compress.errors import EntryError, UnknownName
from compress.tasks import Metric

if TYPE_CHECKING:
    from bench.lanes.feeds import Point
    from bench.lanes.lane import Lane
    from bench.record.model import Measurement, Report
    from compress.recipe import BenchConfig
    from compress.tasks import Head, Task


@dataclass(frozen=True)
class Subject:
    """What is measured on.

    Attributes:
        task: the task module.
        rows: labelled evaluation rows, in order.
        head: of the baseline; every candidate's is the same, but for the size of a vector.
        bench: the grid, rounds and runs.
        baseline: name of the baseline candidate.
        seed: of shuffles and resamples.
        selection: gives labeled rows that tune (a temperature, say) and that are none of ``rows``; None
            where only rows to measure on were given.
    """

    task: Task
    rows: Sequence[dict[str, Any]]
    head: Head
    bench: BenchConfig
    baseline: str
    seed: int
    selection: Callable[[], Sequence[dict[str, Any]]] | None = None


class Probe(Protocol):
    """The names that a probe module defines.

    Rows or answers of which it can say nothing it refuses with ``NothingToMeasure``: the report then has the
    reason in place of figures.

    Attributes:
        Config: its options (frozen pydantic, unknown keys refused).
        UNIT: of its main figure.
        BETTER: ``lower`` or ``higher``.
        DEFAULT: whether it runs when no probes are named.
        FRESH: whether it wants processes that have run nothing yet; such probes go first.
        LISTS: the options that say how many rows it lists for a person to read: 0 where a report shall hold
            none.
        FIGURES: how its figures are shown and compared; one that it leaves out has a row of its own.
    """

    Config: type[BaseModel]
    UNIT: str
    BETTER: Literal["lower", "higher"]
    DEFAULT: bool
    FRESH: bool
    LISTS: tuple[str, ...] = ()
    FIGURES: tuple[Figure, ...] = ()

    @staticmethod
    def measure(lanes: Sequence[Lane], subject: Subject, config: Any) -> list[Measurement]:
        """Figures of every candidate, in the order of the lanes."""
        ...

    @staticmethod
    @optional
    def unavailable() -> str | None:
        """Why this machine cannot measure it, which the report then says; None where it can."""
        return None

    @staticmethod
    @optional
    def explanation(report: Report) -> str | None:
        """How a report's figures were measured, in sentences for its reader."""
        return None

    @staticmethod
    @optional
    def extend(
        lanes: Sequence[Lane],
        subject: Subject,
        config: Any,
        found: Sequence[Measurement],
        at: Sequence[Point],
    ) -> list[Measurement]:
        """All figures, with those of some points from more rounds (see ``bench.verdicts.extension``).

        A probe without it measures once, and a verdict on its figures that is open stays open.
        """
        return list(found)


def can_extend(probe: Probe) -> bool:
    """Whether a probe can measure more while a verdict is open."""
    return probe.extend is not Probe.extend


def entry(name: str) -> Probe | None:
    """A probe by the name that its figures bear; None where it is not installed, or broken.

    A report is read where what measured it need not be: its figures are then shown as they are.
    """
    return _entry(name, tuple(sys.path))


@cache
def _entry(name: str, _path: tuple[str, ...]) -> Probe | None:
    try:
        return catalog.probe(name)
    except UnknownName:
        return None
    except EntryError as broken:
        _warn(str(broken))
        return None


@cache
def _warn(sentence: str) -> None:
    """Say once what is broken: two distributions that claim one name break every probe alike."""
    log.warning("%s. Until then, figures are shown without what such an entry says of them.", sentence)


def figure(probe: str, metric: str) -> Figure:
    """How a probe shows a metric; as a row of further figures where it says nothing of it."""
    module = entry(probe)
    return ((closest(module.FIGURES, metric) if module else None) or Figure(metric)).of(metric)


def task_metric(task: str, metric: str) -> Metric:
    """A metric as a report's task declares it; as any other is where that task is not here, or broken."""
    try:
        return tasks.metric(catalog.task(task), metric)
    except UnknownName:
        return Metric(metric)
    except EntryError as broken:
        _warn(str(broken))
        return Metric(metric)


def of_metric(metric: str) -> tuple[str, Figure]:
    """The probe that yields a metric, and how it shows it: of all that are there the one that is closest.

    A name that nobody else has is one of the task's metrics.
    """
    probes = [(name, entry(name)) for name in catalog.names("probe")]
    figures = [(name, closest(probe.FIGURES, metric)) for name, probe in probes if probe is not None]
    return max(
        ((name, figure) for name, figure in figures if figure is not None),
        key=lambda pair: pair[1].fits(metric),
    )
