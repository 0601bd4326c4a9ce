"""A whole recipe: build its artifacts, bench them, judge them, and leave a run folder behind.

The run folder holds ``recipe.yaml`` (as it was run), ``run.json`` (which artifacts, where), ``model/``
(the last artifact, to ship), ``branches/LABEL`` (the end of every other branch), ``report.json``,
``report.html``, ``report.md`` and ``junit.xml``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml
from filelock import FileLock, Timeout

from compress import catalog, data, environment, log, outputs
from compress.artifacts.artifact import MANIFEST, Artifact
from compress.artifacts.store import Store, deliver, hidden, is_copy, write_whole
from compress.errors import RecipeError, UserError
from compress.model import checkpoint
from compress.pipeline import building, places, planning
from compress.pipeline.building import Built
from compress.recipe import DataConfig, Recipe, read, written

if TYPE_CHECKING:
    from bench.record.model import Report

RUN = "run.json"
RECIPE = "recipe.yaml"
LOCK = ".lock"
SCHEMA = 1


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        out: the run folder.
        built: every artifact, in order.
        report: of the bench, with the verdicts in it; None when the recipe measures nothing.
    """

    out: Path
    built: tuple[Built, ...]
    report: Report | None


@contextmanager
def _claimed(out: Path, recipe: Recipe) -> Iterator[None]:
    """Hold the run folder for this process; refuse one that is another run's.

    A run that was refused before it made anything leaves nothing behind, so that the mended command can
    have the same folder.

    Raises:
        UserError: another process works in it, or it holds something else.
    """
    text = _dump(recipe)
    if out.exists() and not out.is_dir():
        raise UserError(f"the output folder {out} is a file: choose another --out")
    created = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    _refuse_others(out, text)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"the output folder {out} is in use by another process: wait for it, or choose another"
        ) from None
    try:
        write_whole(out / RECIPE, text)
        yield
    except BaseException:
        if not (out / RUN).exists():
            _leave(out, created)
        raise
    finally:
        lock.release()


def _leave(out: Path, created: list[Path]) -> None:
    """Take back what claiming a run folder put there; what cannot be removed is no reason of its own."""
    with suppress(OSError):
        for name in (RECIPE, LOCK):
            (out / name).unlink(missing_ok=True)
        for folder in created:
            folder.rmdir()


def _refuse_others(out: Path, text: str) -> None:
    """Refuse a folder that holds anything but a run of the same recipe, or one that never made anything."""
    names = {path.name for path in out.iterdir()}
    unfinished = LOCK in names and names <= {LOCK, RECIPE, hidden(RECIPE)}
    if not names or unfinished:
        return
    if RECIPE not in names:
        raise UserError(
            f"the output folder {out} is in use (it holds something else): choose another --out or empty it"
        )
    if not _is_same(out / RECIPE, text):
        raise UserError(
            f"the output folder {out} is in use (it holds the run of another recipe): "
            "choose another --out, or remove it"
        )


def _is_same(file: Path, text: str) -> bool:
    """Whether a recorded recipe is this one, be it in another layout or with paths as they were given."""
    if file.is_symlink() or not file.is_file():
        return False
    try:
        return file.read_text(encoding="utf-8") == text or _dump(read(str(file))) == text
    except (OSError, UnicodeDecodeError, UserError):
        return False


def _dump(recipe: Recipe) -> str:
    """The recipe as it is recorded: it means the same from any folder."""
    recipe = places.settle(recipe)
    tree = recipe.model_dump(mode="json", exclude_defaults=True)
    for name, entries in (("stages", recipe.stages), ("gates", recipe.gates)):
        if name in tree:
            tree[name] = [written(entry) for entry in entries]
    if "probes" in tree.get("bench", {}):
        tree["bench"]["probes"] = [written(entry) for entry in recipe.bench.probes]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def run(
    recipe: Recipe,
    out: str | Path | None = None,
    store: Store | None = None,
    track: Sequence[str] = (),
    inconclusive: Literal["pass", "fail"] | None = None,
) -> Outcome:
    """Run a recipe whole: build, bench, judge, report.

    Args:
        recipe: from ``compress.recipe.read`` or built in code.
        out: the run folder; the same command on the same folder goes on where it stopped.
        store: where artifacts are kept.
        track: experiment trackers to send the run to, each ``NAME`` or ``NAME:LOCATION``.
        inconclusive: what an inconclusive verdict counts as, for the report to say.

    Returns:
        The outcome; ``report.verdicts`` says whether the gates passed.

    Raises:
        UserError: anything that the user can mend.
    """
    from bench import tracking
    from bench.report.forms import FILES

    folder = outputs.place(Path("runs") / "latest" if out is None else out).absolute()
    check(recipe)
    parameters = recipe.model_dump(mode="json", exclude_defaults=True)
    with _claimed(folder, recipe), tracking.following(track, folder.name, parameters) as trackers:

        def sealed(entry: Built) -> None:
            if entry.source is None:
                _check_labels(recipe, entry.artifact)
            trackers.sealed(entry.label, entry.artifact)

        built = tuple(building.run(recipe, store, sealed))
        _write_run(folder, built)
        report = None
        if recipe.data is not None:
            report = _bench(recipe, recipe.data, built, folder, inconclusive)
        chosen = _chosen(built, recipe, report)
        _ship(chosen, folder / "model")
        for branch in ends(built):
            if branch.label != chosen.label:
                _ship(branch, folder / "branches" / branch.label)
        files = [folder / name for name in FILES] if report is not None else []
        trackers.finished(report, files, folder / "model")
    return Outcome(out=folder, built=built, report=report)


def check(recipe: Recipe, *, runs_here: bool = True) -> None:
    """Refuse, before anything runs, what would only be noticed at the end.

    Args:
        recipe: to check.
        runs_here: whether it shall run on this machine, so that its devices must be there.

    Raises:
        UserError: a probe, gate, runtime, candidate or device that does not exist, options that do not fit,
            or evaluation rows that cannot be read.
    """
    from bench import session
    from bench.machine import devices
    from bench.verdicts import judge

    checked = planning.check(recipe, runs_here=runs_here)
    measured = recipe.bench.candidates or checked.labels
    groups = {"candidates": measured, "baseline": (recipe.bench.baseline,), "ship": recipe.bench.ship}
    for key, named in groups.items():
        names = checked.labels if key == "candidates" else measured
        unknown = [name for name in named if name is not None and name not in names]
        if unknown:
            raise RecipeError(f"bench.{key} names {', '.join(unknown)}; this run has: {', '.join(names)}")
    session.check(recipe.bench)
    gates = judge.prepare(recipe.gates)
    judge.check_candidates(gates, measured)
    if runs_here:
        device = environment.resolve_device(recipe.bench.device)
        judge.ready(gates, {**environment.describe(), **devices.identity(devices.find(device), device)})
    if recipe.gates and recipe.data is None:
        raise RecipeError("the recipe has gates and no data to measure on: give --data DIR or 'data:'")
    if recipe.data is not None:
        data.check_evaluation(recipe.data, catalog.task(checked.task))


def _check_labels(recipe: Recipe, first: Artifact) -> None:
    """Refuse evaluation labels that the model does not have, before anything is trained.

    Raises:
        DataError: one that the head does not know. A head that is still to be made is not looked at.
    """
    if recipe.data is None or first.manifest.facts.get("head") == "new" or _makes_head(recipe):
        return
    task = catalog.task(first.task)
    head = task.head_of(checkpoint.read_config(first.path))
    data.evaluation(recipe.data, task, recipe.seed, head)


def _makes_head(recipe: Recipe) -> bool:
    return any(stage.options.get("head") == "new" for stage in recipe.stages)


def _bench(
    recipe: Recipe,
    rows: DataConfig,
    built: tuple[Built, ...],
    folder: Path,
    inconclusive: Literal["pass", "fail"] | None,
) -> Report:
    from bench.report import forms
    from bench.session import CandidateSpec, measure

    names = recipe.bench.candidates
    trained = [entry for entry in built if not checkpoint.has_fresh_head(entry.artifact)]
    chosen = [entry for entry in built if entry.label in names] if names else trained
    specs = [
        CandidateSpec(
            name=entry.label, path=entry.artifact.path, runtime=recipe.bench.runtimes.get(entry.artifact.kind)
        )
        for entry in chosen
    ]
    log.info("bench: measuring %d candidates", len(specs))
    judged = measure(
        specs,
        data=rows,
        bench=recipe.bench,
        seed=recipe.seed,
        gates=recipe.gates,
        recipe=recipe.model_dump(mode="json"),
        inconclusive=inconclusive,
    )
    forms.write_all(judged, folder)
    return judged


def _write_run(folder: Path, built: tuple[Built, ...]) -> None:
    """Which artifacts the run has, and where they are."""
    listing = [
        {
            "label": entry.label,
            "from": entry.source,
            "id": entry.artifact.id,
            "path": str(entry.artifact.path.absolute()),
            "reused": entry.reused,
        }
        for entry in built
    ]
    content = {"schema_version": SCHEMA, "artifacts": listing}
    write_whole(folder / RUN, json.dumps(content, indent=1) + "\n")


def ends(built: Sequence[Built]) -> list[Built]:
    """The artifacts that nothing else was made from, in order; the last one of the run is the last."""
    sources = {entry.source for entry in built}
    return [entry for entry in built if entry.label not in sources]


def _chosen(built: Sequence[Built], recipe: Recipe, report: Report | None) -> Built:
    """What ships: the last artifact, or the one that the bench chose."""
    if report is None or not recipe.bench.ship:
        return built[-1]
    log.info("%s", report.choice)
    return next(entry for entry in built if entry.label == report.candidates[-1].name)


def _ship(last: Built, folder: Path) -> None:
    """Put a copy of an artifact into the run folder, in place of an earlier one of the same run.

    A kill between two steps leaves the old one aside, and the next run starts from there.
    """
    aside = folder.with_name(f".{folder.name}.old")
    if (folder / MANIFEST).is_file() and not is_copy(last.artifact, folder):
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    elif folder.is_dir() and not (folder / MANIFEST).is_file():
        shutil.rmtree(folder)  # of a removal that was killed: nothing else puts a folder of this name here
    deliver(last.artifact, folder)
    shutil.rmtree(aside, ignore_errors=True)
