"""Folds a recipe's stages over artifacts, reusing what the store already has.

For each stage: check the chain, form the key from everything that could change the bytes, reuse or
run, seal. Stages are reached by name through the catalog; the pipeline imports none of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from compress import artifact as artifacts
from compress import catalog, data, environment, estimate, log, places, processes
from compress.artifact import Artifact, FileEntry, Manifest, Origin, Step
from compress.chain import Link, chain, infer_task
from compress.data import TrainingData
from compress.errors import UserError
from compress.recipe import DataConfig, Recipe, StageEntry
from compress.stage import Context
from compress.store import Building, Store, deliver

_BYTES_A_WEIGHT = 4  # a loaded model is FP32
_SAMPLED_ROWS = 1000


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


# Label -> the artifact, and those that it came from, oldest first.
_Made = dict[str, tuple[Artifact, tuple[Artifact, ...]]]


class _Run:
    """One fold: the recipe, the store, and the data loaded once when first needed."""

    def __init__(self, recipe: Recipe, store: Store) -> None:
        self.recipe = recipe
        self.store = store
        self.links, self.start = chain(recipe)
        self.task_name = infer_task(recipe, self.start, self.links)
        self.task = catalog.load("task", self.task_name)
        self.threads = recipe.threads or environment.cpu_count()
        self.device = environment.resolve_device(recipe.device)
        self._fingerprint: str | None = None
        self._data: TrainingData | None = None

    @property
    def fingerprint(self) -> str | None:
        if self._fingerprint is None and self.recipe.data is not None:
            self._fingerprint = data.fingerprint(self.recipe.data, self.recipe.seed, "training")
        return self._fingerprint

    @property
    def rows(self) -> TrainingData | None:
        if self._data is None and self.recipe.data is not None:
            self._data = data.load(self.recipe.data, self.task, self.recipe.seed).training
        return self._data

    def key(self, link: Link, source: Artifact | None, ancestors: tuple[Artifact, ...]) -> str:
        module = link.module
        return artifacts.digest_text(
            artifacts.canonical_json(
                {
                    "schema": artifacts.SCHEMA,
                    "source": source.id if source else None,
                    "ancestors": [each.id for each in ancestors] if module.ANCESTORS else None,
                    "stage": link.name,
                    "version": module.VERSION,
                    "config": link.config.model_dump(mode="json"),
                    "task": self.task_name,
                    "data": self.fingerprint if module.DATA else None,
                    "reads": [_digest_tree(path) for path in module.reads(link.config)],
                    "seed": self.recipe.seed,
                    "device": self.device,
                    "threads": self.threads,
                    "tools": environment.versions(module.TOOLS),
                    **self._machine(link),
                }
            )
        )

    def workload(self) -> estimate.Workload:
        """What there is to compute: the weights of the model that comes in, and its training rows."""
        given = self.start.path if self.start else self.recipe.model
        size = sum(file.stat().st_size for file in Path(given).glob("*.safetensors")) if given else 0
        rows = self.rows.train if self.rows is not None else ()
        return estimate.Workload(
            parameters=size // _BYTES_A_WEIGHT or None,
            rows=len(rows) or None,
            tokens=_words_a_row(rows[:_SAMPLED_ROWS], self.task) if rows else None,
            bytes=size or None,
        )

    @staticmethod
    def _machine(link: Link) -> dict[str, Any]:
        """What of this machine a result is cut to: instruction sets (INT8 without VNNI), or a GPU."""
        found: dict[str, Any] = {}
        if "onnxruntime" in link.module.TOOLS:
            found["cpu"] = sorted(environment.cpu_flags())
        if hasattr(link.module, "machine"):
            try:
                found["machine"] = link.module.machine(link.config)
            except UserError:
                # It cannot run here: ``check`` and the stage itself say so, and nothing is sealed under the
                # key. What another machine shall run can be planned all the same.
                found["machine"] = None
        return found

    def build(self, link: Link, key: str, source: Artifact | None, ancestors: tuple[Artifact, ...]) -> Built:
        found = self.store.get(key)
        if found is not None:
            log.info("%s: already in the store (%s)", link.label, key[:12])
            return Built(label=link.label, artifact=found, reused=True, source=link.source)
        if not processes.is_main():
            return self._assist(link, key, source, ancestors)
        with self.store.building(key) as building:
            found = self.store.get(key)  # another process may have sealed it while we waited
            if found is not None:
                return Built(label=link.label, artifact=found, reused=True, source=link.source)
            log.info("%s: running", link.label)
            facts = self._run_stage(link, source, ancestors, building)
            files = artifacts.inventory(building.out)
            if not files:
                raise RuntimeError(f"the stage '{link.name}' wrote nothing")
            sealed = self.store.seal(key, building, self._manifest(link, key, source, files, facts))
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
            task=self.task,
            data=self.rows if link.module.DATA else None,
            seed=self.recipe.seed,
            threads=self.threads,
            device=self.device,
            record=record,
            ancestors=ancestors if link.module.ANCESTORS else (),
            cache=self.store.cache(link.name),
        )
        started = time.perf_counter()
        with _torch_threads(self.threads):
            link.module.run(source, link.config, context)
        if context.data is not None:
            record("data", context.data.facts)
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
        files: dict[str, FileEntry],
        facts: dict[str, Any],
    ) -> Manifest:
        config = link.config.model_dump(mode="json")
        kind = link.module.PRODUCES
        step = Step(
            stage=link.name,
            config=config,
            id=artifacts.content_id(kind, self.task_name, files),
            seed=self.recipe.seed,
        )
        origin = source.manifest.origin if source else Origin(**facts.pop("origin", {}))
        if link.module.DATA and self.recipe.data is not None and self.rows is not None:
            origin = origin.model_copy(
                update={
                    "data": places.settle_data(self.recipe.data).model_dump(
                        mode="json", exclude_defaults=True
                    ),
                    "data_fingerprint": self.fingerprint,
                    "data_license": self.rows.facts.get("license"),
                }
            )
        return Manifest(
            kind=kind,
            task=self.task_name,
            stage=link.name,
            config=config,
            seed=self.recipe.seed,
            key=key,
            parent=source.id if source else None,
            lineage=(*(source.manifest.lineage if source else ()), step),
            origin=origin,
            facts=facts,
            environment=environment.describe(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            files=files,
        )

    def fold(self) -> Iterator[Built]:
        made = self.begin()
        for label, (artifact, _) in made.items():
            yield Built(label=label, artifact=artifact, reused=True)
        for link in self.links:
            source, ancestors = made[link.source] if link.source else (None, ())
            built = self.build(link, self.key(link, source, ancestors), source, ancestors)
            yield built
            made[link.label] = built.artifact, (*ancestors, source) if source else ancestors

    def begin(self) -> _Made:
        """What the run starts from, by label; empty where a stage makes the first artifact."""
        return {} if self.start is None else {self.start.manifest.stage: (self.start, ())}


def _words_a_row(rows: Sequence[Mapping[str, Any]], task: ModuleType) -> float | None:
    """Words of a row on average, over all of its texts; None where rows hold none."""
    roles = [role for role, column in task.COLUMNS.items() if column.holds in {"text", "tokens"}]
    if not roles:
        return None
    cells = [row[role] for row in rows for role in roles if row.get(role) is not None]
    return sum(len(cell.split() if isinstance(cell, str) else cell) for cell in cells) / len(rows)


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


def _digest_tree(path: Path) -> str:
    """SHA-256 over a file, or over every file of a folder with its name."""
    if path.is_file():
        return artifacts.digest_file(path)
    if not path.is_dir():
        raise UserError(f"{path} does not exist: check the path in the options")
    names = {
        file.relative_to(path).as_posix(): artifacts.digest_file(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and ".git" not in file.parts
    }
    return artifacts.digest_text(artifacts.canonical_json(names))


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
    for each in _Run(recipe, store or Store()).fold():
        built.append(each)
        if sealed is not None:
            sealed(each)
    return built


@dataclass(frozen=True)
class Checked:
    """What a run will have.

    Attributes:
        task: its name.
        labels: of the artifacts, in order.
    """

    task: str
    labels: tuple[str, ...]


def check(recipe: Recipe, *, here: bool = True) -> Checked:
    """Refuse what does not hold together, before anything runs.

    Args:
        recipe: to check.
        here: whether it shall run on this machine, so that its devices must be there.

    Raises:
        UserError: a stage, an option, an order, a task or a device that cannot be, or a stage that cannot
            run on this machine.
    """
    links, start = chain(recipe)
    task = infer_task(recipe, start, links)
    if here:
        for link in links:
            if hasattr(link.module, "machine"):
                link.module.machine(link.config)
        environment.resolve_device(recipe.device)
    return Checked(task, (*([start.manifest.stage] if start else []), *(link.label for link in links)))


def plan(recipe: Recipe, store: Store | None = None) -> list[Planned]:
    """What ``run`` would do, with estimates of time and disk; nothing is written.

    Raises:
        UserError: the recipe does not hold together.
    """
    store = store or Store()
    state = _Run(recipe, store)
    history = estimate.History(store)
    planned: list[Planned] = []
    made = state.begin()
    for link in state.links:
        source: Artifact | None = None
        ancestors: tuple[Artifact, ...] = ()
        known = link.source is None or link.source in made
        if link.source in made:
            source, ancestors = made[link.source]
        key = state.key(link, source, ancestors) if known else None
        ready = key is not None and store.has(key)
        guess = estimate.NOTHING
        if not ready:
            guess = history.guess(
                link.name,
                link.config,
                places.settle_data(recipe.data).source if recipe.data else None,
                trains=link.module.NEEDS_DATA and "train" in link.module.DATA,
                workload=state.workload,
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
            found = Artifact.open(store.path(key), verify=False)
            made[link.label] = found, (*ancestors, source) if source else ancestors
    return planned


def open_artifact(
    reference: str | Path,
    *,
    task: str | None = None,
    data_config: DataConfig | None = None,
    seed: int = 0,
    store: Store | None = None,
) -> Artifact:
    """A sealed artifact as it is; a Hugging Face folder or hub id through the ``load`` stage.

    Raises:
        UserError: it is neither.
    """
    if artifacts.is_sealed(Path(reference)):
        return Artifact.open(Path(reference))
    recipe = Recipe(model=str(reference), task=task, data=data_config, seed=seed)
    return run(recipe, store)[-1].artifact


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
    store = store or Store()
    module = catalog.load("stage", name)
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
    config = DataConfig.model_validate(origin.data)
    if data.fingerprint(config, source.manifest.seed, "training") != origin.data_fingerprint:
        raise UserError(
            f"the data that {source.path} was made with ({config.source or config.train}) has changed since: "
            "give --data"
        )
    return config
