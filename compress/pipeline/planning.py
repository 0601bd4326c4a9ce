"""What a run would do, before anything runs: whether a recipe holds together, and what the store already has.

Nothing is written here and no stage runs; ``compress.pipeline.building`` runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import environment
from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.pipeline import estimate, places
from compress.pipeline.chain import chain, check_head, infer_task
from compress.pipeline.job import Job
from compress.recipe import Recipe

if TYPE_CHECKING:
    from compress.tasks import Task

_BYTES_A_WEIGHT = 4  # a loaded model is FP32
_SAMPLED_ROWS = 1000


@dataclass(frozen=True)
class Planned:
    """What would happen to one link.

    Attributes:
        label: of the link.
        source: label of what it takes; None for a stage that starts the chain.
        config: canonical.
        key: None where an earlier link is not built, so that its content is not known yet.
        ready: whether the store has it.
        seconds: estimate of its run time; 0 when ready.
        bytes: estimate of its size on disk; 0 when ready.
        basis: what the estimate rests on.
    """

    label: str
    source: str | None
    config: dict[str, Any]
    key: str | None
    ready: bool
    seconds: float | None
    bytes: int | None
    basis: str


@dataclass(frozen=True)
class Checked:
    """What a run will have.

    Attributes:
        task: its name.
        labels: of the artifacts, in order.
    """

    task: str
    labels: tuple[str, ...]


def check(recipe: Recipe, *, runs_here: bool = True) -> Checked:
    """Refuse what does not hold together, before anything runs.

    Args:
        recipe: to check.
        runs_here: whether it shall run on this machine, so that its devices must be there.

    Raises:
        UserError: a stage, an option, an order, a task or a device that cannot be, or a stage that cannot
            run on this machine.
    """
    links, start = chain(recipe)
    task = infer_task(recipe, start, links)
    check_head(links, start, task)
    if runs_here:
        for link in links:
            link.module.machine(link.config)
        environment.resolve_device(recipe.device)
    return Checked(task, (*([start.label] if start else []), *(link.label for link in links)))


def plan(recipe: Recipe, store: Store | None = None) -> list[Planned]:
    """What ``run`` would do, with estimates of time and disk; nothing is written.

    Raises:
        UserError: the recipe does not hold together.
    """
    store = store or Store()
    job = Job(recipe)
    history = estimate.History(store)
    planned: list[Planned] = []
    by_label = job.begin()
    for link in job.links:
        source: Artifact | None = None
        ancestors: tuple[Artifact, ...] = ()
        has_source = link.source is None or link.source in by_label
        if link.source in by_label:
            source, ancestors = by_label[link.source]
        key = job.key(link, source, ancestors) if has_source else None
        ready = key is not None and store.has(key)
        guess = estimate.NOTHING
        if not ready:
            guess = history.guess(
                link.name,
                link.config,
                places.settle_data(recipe.data).source if recipe.data else None,
                trains=link.module.NEEDS_DATA and "train" in link.module.DATA,
                workload=lambda: _workload(job),
            )
        planned.append(
            Planned(
                label=link.label,
                source=link.source,
                config=link.config.model_dump(mode="json"),
                key=key,
                ready=ready,
                seconds=guess.seconds,
                bytes=guess.bytes,
                basis=guess.basis,
            )
        )
        if ready and key is not None:
            artifact = Artifact.open(store.path(key), verify=False)
            by_label[link.label] = artifact, (*ancestors, source) if source else ancestors
    return planned


def _workload(job: Job) -> estimate.Workload:
    """What there is to compute: the weights of the model that comes in, and its training rows."""
    model = job.start.artifact.path if job.start else job.recipe.model
    size = sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) if model else 0
    rows = job.rows.train if job.rows is not None else ()
    return estimate.Workload(
        parameters=size // _BYTES_A_WEIGHT or None,
        rows=len(rows) or None,
        tokens=_words_a_row(rows[:_SAMPLED_ROWS], job.task) if rows else None,
        bytes=size or None,
    )


def _words_a_row(rows: Sequence[Mapping[str, Any]], task: Task) -> float | None:
    """Words of a row on average, over all of its texts; None where rows hold none."""
    roles = [role for role, column in task.COLUMNS.items() if column.holds in {"text", "tokens"}]
    if not roles:
        return None
    cells = [row[role] for row in rows for role in roles if row.get(role) is not None]
    return sum(len(cell.split() if isinstance(cell, str) else cell) for cell in cells) / len(rows)
