"""Runs a recipe: folds its stages over artifacts, reusing what the store already has.

For each link of the checked chain: form the key, reuse or run, seal. Stages are reached by name through
the catalog; the pipeline imports none of them. ``compress.pipeline.planning`` says beforehand what would run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compress import catalog, data, environment, log, outputs, processes
from compress.artifacts import artifact as artifacts
from compress.artifacts.artifact import Artifact, FileEntry, Manifest, Origin, Step
from compress.artifacts.store import Building, Store, deliver
from compress.errors import UserError
from compress.label_names import LabelNames
from compress.model import checkpoint
from compress.pipeline import places
from compress.pipeline.chain import Link, chain, check_head, infer_task
from compress.pipeline.job import Job
from compress.recipe import DataConfig, Recipe, StageEntry, validate
from compress.stage import Context
from compress.tasks import _heads as heads


@dataclass(frozen=True)
class Built:
    """One artifact of a run.

    Attributes:
        label: of the link that made it.
        artifact: sealed.
        reused: whether the store had it already.
        source: label of what it was made from; None for the first.
    """

    label: str
    artifact: Artifact
    reused: bool
    source: str | None = None


class _Run:
    """One fold of a job into a store."""

    def __init__(self, job: Job, store: Store) -> None:
        self.job = job
        self.store = store

    def build(self, link: Link, key: str, source: Artifact | None, ancestors: tuple[Artifact, ...]) -> Built:
        if source is not None and not link.module.MAKES_HEAD:
            checkpoint.require_head(source)
        artifact = self.store.get(key)
        if artifact is not None:
            log.info("%s: already in the store (%s)", link.label, key[:12])
            return Built(label=link.label, artifact=artifact, reused=True, source=link.source)
        if not processes.is_main():
            return self._assist(link, key, source, ancestors)
        with self.store.building(key) as building:
            artifact = self.store.get(key)  # another process may have sealed it while we waited
            if artifact is not None:
                return Built(label=link.label, artifact=artifact, reused=True, source=link.source)
            log.info("%s: running", link.label)
            facts = self._run_stage(link, source, ancestors, building)
            files = artifacts.inventory(building.out)
            if not files:
                raise RuntimeError(f"the stage '{link.name}' wrote nothing")
            sealed = self.store.seal(
                key, building, self._manifest(link, key, source, building.out, files, facts)
            )
        log.info("%s: done in %.1f s", link.label, sealed.manifest.facts["seconds"])
        return Built(label=link.label, artifact=sealed, reused=False, source=link.source)

    def _run_stage(
        self,
        link: Link,
        source: Artifact | None,
        ancestors: tuple[Artifact, ...],
        building: Building,
    ) -> dict[str, Any]:
        """Run a stage in its folders; gives the facts that it recorded."""
        facts: dict[str, Any] = {}

        def record(name: str, value: Any) -> None:
            artifacts.canonical_json(value)  # refuses what is no JSON, at the line that recorded it
            facts[name] = value

        context = Context(
            out=building.out,
            scratch=building.scratch,
            task=self.job.task,
            data=self.job.rows if link.module.DATA else None,
            seed=self.job.recipe.seed,
            threads=self.job.threads,
            device=self.job.device,
            record=record,
            ancestors=ancestors if link.module.ANCESTORS else (),
            cache=self.store.cache(link.name),
        )
        started = time.perf_counter()
        with _torch_threads(self.job.threads):
            link.module.run(source, link.config, context)
        if context.data is not None:
            record("data", context.data.facts)
        if link.module.BROUGHT_BY:
            record("brought_by", dict(link.module.BROUGHT_BY))
        facts["seconds"] = round(time.perf_counter() - started, 3)
        return facts

    def _assist(
        self, link: Link, key: str, source: Artifact | None, ancestors: tuple[Artifact, ...]
    ) -> Built:
        """What a process other than the main one does: take part in the stage, and wait for the seal."""
        if "train" in link.module.DATA and self.store.await_builder(key):
            with self.store.assisting(key) as building:
                self._run_stage(link, source, ancestors, building)
        sealed = self.store.await_seal(key)
        return Built(label=link.label, artifact=sealed, reused=False, source=link.source)

    def _manifest(
        self,
        link: Link,
        key: str,
        source: Artifact | None,
        out: Path,
        files: dict[str, FileEntry],
        facts: dict[str, Any],
    ) -> Manifest:
        config = link.config.model_dump(mode="json")
        kind = link.module.PRODUCES or (source.kind if source else None)
        if kind is None:
            raise TypeError(f"stage '{link.name}' makes the kind that it takes, and it takes nothing")
        step = Step(
            stage=link.name,
            config=config,
            id=artifacts.content_id(kind, self.job.task_name, files),
            seed=self.job.recipe.seed,
        )
        origin = source.manifest.origin if source else Origin(**facts.pop("origin", {}))
        if link.module.DATA and self.job.recipe.data is not None and self.job.rows is not None:
            origin = origin.model_copy(
                update={
                    "data": places.settle_data(self.job.recipe.data).model_dump(
                        mode="json", exclude_defaults=True
                    ),
                    "data_fingerprint": self.job.fingerprint,
                    "data_columns": self.job.rows.facts.get("columns"),
                    "data_license": self.job.rows.facts.get("license"),
                }
            )
        origin = origin.model_copy(update={"labels": self._label_names(link, source, out, origin.labels)})
        return Manifest(
            kind=kind,
            task=self.job.task_name,
            stage=link.name,
            config=config,
            seed=self.job.recipe.seed,
            key=key,
            parent=source.id if source else None,
            lineage=(*(source.manifest.lineage if source else ()), step),
            origin=origin,
            facts=facts,
            environment=environment.describe(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files=files,
        )

    def _label_names(self, link: Link, source: Artifact | None, out: Path, names: LabelNames) -> LabelNames:
        """How the outputs of a result got their names: as its source's, unless its head is another one."""
        if not (out / checkpoint.CONFIG).is_file():
            return names
        head = self.job.task.head_of(checkpoint.read_config(out))
        if source is not None and head != self.job.task.head_of(checkpoint.read_config(source.path)):
            names = LabelNames()
        rows = self.job.rows if link.module.DATA else None
        order = rows.label_order(self.job.task, head) if rows is not None else ()
        return names.model_copy(update={"unknown": heads.unnamed(head), "by_order": order or names.by_order})

    def fold(self) -> Iterator[Built]:
        by_label = self.job.begin()
        for label, (artifact, _) in by_label.items():
            yield Built(label=label, artifact=artifact, reused=True)
        for link in self.job.links:
            source, ancestors = by_label[link.source] if link.source else (None, ())
            built = self.build(link, self.job.key(link, source, ancestors), source, ancestors)
            yield built
            by_label[link.label] = built.artifact, (*ancestors, source) if source else ancestors


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Set PyTorch's CPU threads for a stage and put them back after it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(
    recipe: Recipe, store: Store | None = None, sealed: Callable[[Built], None] | None = None
) -> list[Built]:
    """Build every artifact of a recipe, in order; what the store has is reused.

    Args:
        recipe: to build.
        store: where artifacts are kept.
        sealed: told of each artifact as soon as it is there.

    Raises:
        UserError: anything that the user can mend; nothing half-written is left.
    """
    built = []
    for outcome in _Run(Job(recipe), store or Store()).fold():
        built.append(outcome)
        if sealed is not None:
            sealed(outcome)
    return built


def open_artifact(
    reference: str | Path,
    *,
    task: str | None = None,
    data_config: DataConfig | None = None,
    seed: int = 0,
    store: Store | None = None,
) -> Artifact:
    """A model that answers: a sealed artifact as it is, a Hugging Face folder or hub id through ``load``.

    Raises:
        UserError: it is neither, its head was never trained, or an artifact is of another task.
    """
    if artifacts.is_sealed(Path(reference)):
        opened = Artifact.open(Path(reference))
        if task is not None and catalog.canonical(task) != opened.task:
            raise UserError(
                f"{reference} is a sealed artifact for {opened.task}, and the task '{task}' was asked for: "
                "leave the task out, or give a model that was made for it"
            )
    else:
        recipe = Recipe(model=str(reference), task=task, data=data_config, seed=seed)
        links, start = chain(recipe)
        check_head(links, start, infer_task(recipe, start, links))
        opened = run(recipe, store)[-1].artifact
    checkpoint.require_head(opened)
    return opened


def run_stage(
    name: str,
    source: str | Path,
    *,
    options: dict[str, Any],
    data_config: DataConfig | None = None,
    task: str | None = None,
    seed: int | None = None,
    device: str = "cpu",
    threads: int | None = None,
    out: Path | None = None,
    store: Store | None = None,
) -> Artifact:
    """One stage on one model: what a single verb of the command line does.

    A stage that reads data and is given none takes the data that the source's manifest records, if it
    is still there unchanged.

    Args:
        name: of the stage.
        source: sealed artifact, Hugging Face folder or hub id.
        options: of the stage.
        data_config: where the rows are.
        task: name in the catalog; inferred when None.
        seed: of everything random; the source's own when None, so that carved splits stay the same.
        device: where training runs.
        threads: CPU threads.
        out: folder to deliver the result to; the store's own when None.
        store: where results are kept.

    Raises:
        UserError: anything that the user can mend.
    """
    if out is not None:
        out = outputs.folder(out)
    store = store or Store()
    module = catalog.stage(name)
    start = Artifact.open(Path(source)) if artifacts.is_sealed(Path(source)) else None
    chosen = data_config
    if start is not None:
        seed = start.manifest.seed if seed is None else seed
        if chosen is None and module.DATA:
            chosen = _recorded_data(start)
    recipe = Recipe(
        model=str(source),
        task=task,
        data=chosen,
        seed=seed or 0,
        device=device,
        threads=threads,
        stages=(StageEntry(name=name, options=options),),
    )
    built = run(recipe, store)[-1].artifact
    return deliver(built, out) if out is not None and processes.is_main() else built


def _recorded_data(source: Artifact) -> DataConfig | None:
    """The data that an artifact's manifest records, refused where it changed since."""
    origin = source.manifest.origin
    if origin.data is None:
        return None
    config: DataConfig = validate(DataConfig, origin.data, f"the data that {source.path} records")
    if data.fingerprint(config, source.manifest.seed, "training") != origin.data_fingerprint:
        raise UserError(
            f"the data that {source.path} was made with ({config.source or config.train}) has changed since: "
            "give --data"
        )
    return config
