"""Which probes to run on two models, and what can be refused before anything runs.

Beside what got worse the page of ``damage`` says what was won for it: latency at one row at a time and the
rows' own lengths, memory and size. That costs seconds where the rest takes minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.answers import challenges, slicing
from bench.findings import fairness, robustness
from bench.probes import slices as slices_probe
from compress import catalog, data, log
from compress.errors import DataError, NothingToMeasure
from compress.model import checkpoint
from compress.recipe import DataConfig, Named
from compress.tasks import has_label

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.tasks import Head, Task


@dataclass(frozen=True)
class Wishes:
    """What was asked for.

    Attributes:
        rows: to list of each kind at most, for a person to read; 0 leaves all texts out of the report.
        cases: of each challenge set or set of templates, and rows that are changed, at most.
        columns: to cut slices by.
        sets: challenge sets.
        groups: column with groups of people.
        templates: sets of sentences that differ in the group.
        speed: whether to measure latency and memory.
        batch_size: rows at once where answers are compared; speed is measured one row at a time.
    """

    rows: int = 100
    cases: int = 2000
    columns: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    groups: str | None = None
    templates: tuple[str, ...] = ()
    speed: bool = True
    batch_size: int = 16


_SPEED = ("memory", "latency")


def probes(original: Artifact, wishes: Wishes, evaluation: DataConfig) -> tuple[Named, ...]:
    """The probes; what the task has nothing to say to is left out, with a word about it.

    Args:
        original: whose task and head decide.
        wishes: what was asked for.
        evaluation: where the evaluation rows are.

    Raises:
        DataError: a column, set or template that is not there or does not fit.
    """
    task = catalog.task(original.task)
    head: Head = task.head_of(checkpoint.read_config(original.path))
    _check(task, head, wishes, evaluation)
    entries = [
        Named(name="flips", options={"rows": wishes.rows}),
        Named(name="slices", options={"columns": wishes.columns}),
        Named(name="accuracy"),
        Named(name="divergence"),
    ]
    if not head.labels:
        log.info("calibration is left out: these answers have no confidence")
    else:
        entries.append(Named(name="calibration-error"))
    if head.problem == "ranking":
        entries.append(Named(name="order-flips"))
    try:
        robustness.readable(task)
        entries.append(
            Named(name="robustness", options={"rows": wishes.cases, "listed": min(wishes.rows, 5)})
        )
    except NothingToMeasure:
        log.info("robustness is left out: the rows of this task have no text to change")
    if wishes.sets:
        challenge = {"sets": wishes.sets, "cases": wishes.cases, "listed": min(wishes.rows, 10)}
        entries.append(Named(name="challenge", options=challenge))
    if wishes.groups is not None or wishes.templates:
        options = {"groups": wishes.groups, "templates": wishes.templates, "rows": wishes.cases}
        entries.append(Named(name="fairness", options=options))
    asking = [
        Named(name=entry.name, options={**entry.options, "batch_size": wishes.batch_size})
        for entry in entries
    ]
    # Speed first, as 'bench' measures it: on processes that have answered nothing else yet.
    timing = [Named(name=name) for name in _SPEED] if wishes.speed else []
    return (*timing, Named(name="size"), *asking)


def _check(task: Task, head: Head, wishes: Wishes, evaluation: DataConfig) -> None:
    """Refuse within seconds what would be refused after minutes of measuring."""
    for place in wishes.sets:
        challenges.read(place, task, head)
    for place in wishes.templates:
        fairness.read_swaps(place, task, None, most=2, seed=0)
    rows = data.evaluation(evaluation, task, 0, head, beside=True)
    if not has_label(task, rows[0]):
        raise DataError(
            "the evaluation rows have no labels, without which nothing says what is right: give labeled rows"
        )
    least = slices_probe.Config().min_rows
    if len(rows) < least:
        raise DataError(
            f"there are {len(rows)} rows and no slice of them has {least}: give more rows (what so few rows "
            "say is little)"
        )
    for column in [*wishes.columns, *([wishes.groups] if wishes.groups else [])]:
        slicing.cells(rows, column)
