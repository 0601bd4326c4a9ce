"""A whole recipe: build its artifacts, bench them, judge them, and leave a run folder behind.

The run folder holds ``recipe.yaml`` (as it was run), ``run.json`` (which artifacts, where), ``model/``
(the last artifact, to ship), ``branches/LABEL`` (the end of every other branch), ``report.json``,
``report.html``, ``report.md`` and ``junit.xml``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from filelock import FileLock, Timeout

from compress import log, pipeline
from compress.artifact import MANIFEST
from compress.errors import RecipeError, UserError
from compress.pipeline import Built
from compress.recipe import DataConfig, Recipe, written
from compress.store import Store, deliver

if TYPE_CHECKING:
    from bench.record import Report

RUN = "run.json"
RECIPE = "recipe.yaml"
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

    Raises:
        UserError: another process works in it, or it holds something else.
    """
    text = _dump(recipe)
    if out.exists() and not out.is_dir():
        raise UserError(f"the output folder {out} is a file: choose another --out")
    if out.is_dir():
        names = {path.name for path in out.iterdir()}
        known = out / RECIPE
        if names - {".lock"} and not known.is_file():
            raise UserError(
                f"the output folder {out} is in use (it holds something else): "
                "choose another --out or empty it"
            )
        if known.is_file() and known.read_text(encoding="utf-8") != text:
            raise UserError(
                f"the output folder {out} is in use (it holds the run of another recipe): "
                "choose another --out, or remove it"
            )
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"the output folder {out} is in use by another process: wait for it, or choose another"
        ) from None
    try:
        (out / RECIPE).write_text(text, encoding="utf-8")
        yield
    finally:
        lock.release()


def _dump(recipe: Recipe) -> str:
    resolved = recipe
    if recipe.data is not None:
        resolved = recipe.model_copy(update={"data": pipeline.resolve(recipe.data)})
    tree = resolved.model_dump(mode="json", exclude_defaults=True)
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
) -> Outcome:
    """Run a recipe whole: build, bench, judge, report.

    Args:
        recipe: from ``compress.recipe.read`` or built in code.
        out: the run folder; the same command on the same folder goes on where it stopped.
        store: where artifacts are kept.
        track: experiment trackers to send the run to, each ``NAME`` or ``NAME:LOCATION``.

    Returns:
        The outcome; ``report.verdicts`` says whether the gates passed.

    Raises:
        UserError: anything that the user can mend.
    """
    from bench import tracking
    from bench.report import FILES

    folder = Path(out or Path("runs") / "latest").expanduser().absolute()
    check(recipe)
    parameters = recipe.model_dump(mode="json", exclude_defaults=True)
    with _claimed(folder, recipe), tracking.following(track, folder.name, parameters) as trackers:
        built = tuple(pipeline.run(recipe, store, lambda each: trackers.sealed(each.label, each.artifact)))
        _write_run(folder, built)
        report = _bench(recipe, recipe.data, built, folder) if recipe.data is not None else None
        _ship(built[-1], folder / "model")
        for other in ends(built)[:-1]:
            _ship(other, folder / "branches" / other.label)
        files = [folder / name for name in FILES] if report is not None else []
        trackers.finished(report, files, folder / "model")
    return Outcome(out=folder, built=built, report=report)


def check(recipe: Recipe) -> None:
    """Refuse, before anything runs, what would only be noticed at the end.

    Raises:
        UserError: a probe, gate or runtime that does not exist or whose options do not fit.
    """
    from bench import judge, session

    labels = pipeline.check(recipe)
    unknown = [name for name in recipe.bench.candidates if name not in labels]
    if unknown:
        raise RecipeError(f"bench.candidates names {', '.join(unknown)}; this run has: {', '.join(labels)}")
    session.check(recipe.bench)
    judge.check(recipe.gates)
    if recipe.gates and recipe.data is None:
        raise RecipeError("the recipe has gates and no data to measure on: give --data DIR or 'data:'")


def _bench(recipe: Recipe, rows: DataConfig, built: tuple[Built, ...], folder: Path) -> Report:
    from bench import report
    from bench.session import CandidateSpec, measure

    wanted = recipe.bench.candidates
    chosen = [each for each in built if not wanted or each.label in wanted]
    specs = [
        CandidateSpec(
            name=each.label, path=each.artifact.path, runtime=recipe.bench.runtimes.get(each.artifact.kind)
        )
        for each in chosen
    ]
    log.info("bench: measuring %d candidates", len(specs))
    judged = measure(
        specs,
        data=rows,
        bench=recipe.bench,
        seed=recipe.seed,
        gates=recipe.gates,
        recipe=recipe.model_dump(mode="json"),
    )
    report.write_all(judged, folder)
    return judged


def _write_run(folder: Path, built: tuple[Built, ...]) -> None:
    """Which artifacts the run has, and where they are."""
    listing = [
        {
            "label": each.label,
            "from": each.source,
            "id": each.artifact.id,
            "path": str(each.artifact.path),
            "reused": each.reused,
        }
        for each in built
    ]
    temporary = folder / f".{RUN}.tmp"
    temporary.write_text(
        json.dumps({"schema_version": SCHEMA, "artifacts": listing}, indent=1) + "\n", encoding="utf-8"
    )
    temporary.replace(folder / RUN)


def ends(built: Sequence[Built]) -> list[Built]:
    """The artifacts that nothing else was made from, in order; the last one of the run is the last."""
    taken = {each.source for each in built}
    return [each for each in built if each.label not in taken]


def _ship(last: Built, folder: Path) -> None:
    """Put a copy of an artifact into the run folder, in place of an earlier one of the same run."""
    if (folder / MANIFEST).is_file() and folder.is_dir():
        shutil.rmtree(folder)
    deliver(last.artifact, folder)
