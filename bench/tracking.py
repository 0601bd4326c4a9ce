"""Sends a run to the experiment trackers that the user named, and never lets one of them disturb it.

A tracker that cannot be opened is the user's mistake and is said before anything runs. One that fails
later is said once, gets nothing more, and is said again at the end; the run, its files and its exit code
are as without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report import summary
from bench.trackers import Curve, Result, Run, Sink, Stage
from compress import catalog, log, processes
from compress.artifacts.artifact import MANIFEST, Artifact
from compress.errors import RecipeError, UserError

if TYPE_CHECKING:
    from bench.record.model import Report


def parse(entry: str) -> tuple[str, str | None]:
    """Tracker and location of ``NAME`` or ``NAME:LOCATION``.

    Raises:
        RecipeError: a colon with nothing behind it.
        UnknownName: no such tracker.
    """
    name, colon, location = entry.partition(":")
    if colon and not location:
        raise RecipeError(f"--track takes NAME or NAME:LOCATION, such as mlflow:runs/mlflow; got '{entry}'")
    catalog.path("tracker", name)
    return catalog.canonical(name), location or None


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """A tree of options by dotted key, empty branches left out."""
    if isinstance(tree, Mapping):
        entries = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, (list, tuple)) and any(
        isinstance(branch, (Mapping, list, tuple)) for branch in tree
    ):
        entries = [(str(index), value) for index, value in enumerate(tree)]
    else:
        return {prefix: str(tree)}
    return {
        key: text
        for name, value in entries
        for key, text in flat(value, f"{prefix}.{name}" if prefix else name).items()
    }


def curves(facts: Any, prefix: str = "") -> tuple[Curve, ...]:
    """The curves of every training history in a stage's facts, wherever the stage put it.

    A history is what ``compress.training.history`` records: ``losses`` as (step, loss) and ``evaluations``.
    """
    if isinstance(facts, Mapping) and {"losses", "evaluations"} <= facts.keys():
        series = {f"{prefix}/loss": [(int(step), float(loss)) for step, loss in facts["losses"]]}
        for evaluation in facts["evaluations"]:
            for metric, value in evaluation["metrics"].items():
                series.setdefault(f"{prefix}/{metric}", []).append((int(evaluation["step"]), float(value)))
        return tuple(Curve(name, tuple(points)) for name, points in series.items() if points)
    if isinstance(facts, Mapping):
        entries = [(str(key), value) for key, value in facts.items()]
    elif isinstance(facts, (list, tuple)):
        entries = [(str(index), value) for index, value in enumerate(facts)]
    else:
        return ()
    return tuple(
        curve for name, value in entries for curve in curves(value, f"{prefix}/{name}" if prefix else name)
    )


def stage(label: str, artifact: Artifact) -> Stage:
    """What a tracker gets of a sealed artifact."""
    manifest = artifact.manifest
    seconds = manifest.facts.get("seconds")
    return Stage(
        name=label,
        parameters={**flat(manifest.config), "id": artifact.id, "kind": artifact.kind},
        figures={
            "size_bytes": float(artifact.size_bytes),
            **({"seconds": float(seconds)} if seconds is not None else {}),
        },
        curves=curves(manifest.facts),
        manifest=artifact.path / MANIFEST,
    )


def figures(report: Report) -> dict[str, float]:
    """Every figure of a report by ``CANDIDATE/METRIC``, with what tells figures of one name apart.

    A ratio or difference to the baseline follows under the same name, with the ends of its interval.
    """
    values: dict[str, float] = {}
    metrics = summary.figures(report)
    for figure in report.measurements:
        name = f"{figure.candidate}/{figure.metric}"
        if "length" in figure.conditions:
            name += f"/batch {figure.conditions.get('batch_size')}, length {figure.conditions['length']}"
        apart = {key: at for key, at in figure.conditions.items() if key not in summary.OF_THE_SAMPLE}
        apart = {
            key: at
            for key, at in apart.items()
            if key != "length" and key not in metrics[figure.metric].found
        }
        name += "".join(f"/{key} {at}" for key, at in apart.items())
        values[name] = figure.value
        for kind, value, interval in (
            ("ratio", figure.ratio, figure.ratio_interval),
            ("difference", figure.difference, figure.difference_interval),
        ):
            if value is not None:
                values[f"{name}/{kind}"] = value
            if interval is not None:
                values |= {f"{name}/{kind}_low": interval.low, f"{name}/{kind}_high": interval.high}
    return {name: value for name, value in values.items() if math.isfinite(value)}


class Tracking:
    """The open trackers of one run; without any, every call does nothing."""

    def __init__(self) -> None:
        self._sinks: dict[str, Sink] = {}
        self._failures: list[str] = []

    def open(self, name: str, run: Run, location: str | None) -> None:
        """Begin the run in a tracker.

        Raises:
            UserError: it cannot be opened there, or its client is not installed.
        """
        try:
            self._sinks[name] = catalog.tracker(name).start(run, location)
        except UserError:
            raise
        except Exception as cause:
            place = f" at '{location}'" if location else ""
            raise UserError(
                f"the tracker '{name}' cannot be opened{place} ({type(cause).__name__}: {cause}): give "
                f"another --track {name}:LOCATION, or run without it"
            ) from cause

    def _each(self, doing: str, send: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                send(sink)
            except Exception as cause:  # whatever a client raises, the run goes on
                del self._sinks[name]
                message = f"the tracker '{name}' failed while {doing} ({type(cause).__name__}: {cause})"
                self._failures.append(message)
                log.warning("%s: it gets nothing more, the run goes on", message)

    def sealed(self, label: str, artifact: Artifact) -> None:
        """Send a stage that was just sealed, or was sealed before."""
        if self._sinks:
            record = stage(label, artifact)
            self._each(f"sending stage '{label}'", lambda sink: sink.stage(record))

    def finished(self, report: Report | None, files: Sequence[Path], model: Path | None) -> None:
        """Send the report and what ships."""
        if not self._sinks:
            return
        from bench.report import markdown as reports

        outcome = Result(
            verdict=summary.headline(report) if report else "built, not measured",
            figures=figures(report) if report else {},
            text=reports.page(report) if report else "",
            files=tuple(files),
            model=model,
        )
        self._each("sending the report", lambda sink: sink.result(outcome))

    def close(self, succeeded: bool) -> None:
        """End the run everywhere, and say where it can be seen and what failed."""
        self._each("closing", lambda sink: sink.close(succeeded))
        for name, sink in self._sinks.items():
            log.info("tracked with %s: %s", name, sink.where)
        for failure in self._failures:
            log.warning("not everything was tracked: %s; the run's own files are whole", failure)


@contextmanager
def following(entries: Sequence[str], name: str, parameters: Any) -> Iterator[Tracking]:
    """Open the named trackers for a run and close them at its end, however it ends.

    Where several processes train together, the main one alone tracks.

    Args:
        entries: as the user wrote them, ``NAME`` or ``NAME:LOCATION``.
        name: of the run.
        parameters: of the run, a tree of options.

    Raises:
        UserError: an unknown tracker, one whose client is not installed, or one that cannot be opened.
    """
    locations = dict(map(parse, entries))
    if len(locations) < len(entries):
        raise RecipeError(f"--track names a tracker twice: {', '.join(entries)}")
    run = Run(name=name, started=datetime.now(UTC), parameters=flat(parameters))
    tracking = Tracking()
    succeeded = False
    try:
        for tracker, location in locations.items() if processes.is_main() else ():
            tracking.open(tracker, run, location)
        yield tracking
        succeeded = True
    finally:
        tracking.close(succeeded)
