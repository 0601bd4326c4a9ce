"""Weights & Biases: parameters, curves, figures, the report's files and the shipped model, as one run.

Offline unless you say otherwise: the run is written to a local folder, and ``wandb sync`` sends it when you
want. ``WANDB_MODE`` in the environment, or the address of your server as the location, says otherwise. Any
other location is the folder, and without one ``WANDB_DIR`` or the current folder is. ``WANDB_PROJECT`` and
``WANDB_ENTITY`` count as usual; the project is ``paredown`` otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.trackers import Result, Run, Stage
from compress import environment


class Sink:
    """One run; it is closed only at the end, so that one folder holds all of it."""

    def __init__(self, client: Any, run: Any, place: str) -> None:
        self._client = client
        self._run = run
        self.where = place

    def stage(self, stage: Stage) -> None:
        """Send a stage's parameters, figures, curves and manifest."""
        self._run.config.update({stage.name: stage.parameters})
        self._run.summary.update({f"{stage.name}/{name}": value for name, value in stage.figures.items()})
        step = f"{stage.name}/step"  # each stage counts its own steps
        by_step: dict[int, dict[str, float]] = {}
        for curve in stage.curves:
            name = f"{stage.name}/{curve.name}"
            self._run.define_metric(name, step_metric=step)
            for at, value in curve.points:
                by_step.setdefault(at, {})[name] = value
        for at in sorted(by_step):
            self._run.log({step: at, **by_step[at]})
        self._keep(f"{stage.name}-manifest", "manifest", files=(stage.manifest,))

    def result(self, result: Result) -> None:
        """Send the report's figures and files, and the model."""
        self._run.summary.update({f"bench/{name}": value for name, value in result.figures.items()})
        self._run.summary["verdict"] = result.verdict
        if result.files:
            self._keep("report", "report", files=result.files)
        if result.model is not None:
            self._keep("model", "model", folder=result.model)

    def _keep(self, name: str, kind: str, files: tuple[Path, ...] = (), folder: Path | None = None) -> None:
        artifact = self._client.Artifact(name, type=kind)
        for file in files:
            artifact.add_file(str(file))
        if folder is not None:
            artifact.add_dir(str(folder))
        self._run.log_artifact(artifact)

    def close(self, succeeded: bool) -> None:
        """End the run as finished or failed."""
        self._run.finish(exit_code=0 if succeeded else 1)


def start(run: Run, location: str | None) -> Sink:
    """Begin a run; offline unless the location is an address or ``WANDB_MODE`` is set."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when it is imported
    client = environment.require("wandb", extra="wandb", purpose="--track wandb")
    address = location if location and "://" in location else None
    mode = os.environ.get("WANDB_MODE") or ("online" if address else "offline")
    folder = Path(os.environ.get("WANDB_DIR") or ".") if address or not location else Path(location)
    folder = folder.expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    settings = client.Settings(
        **({"base_url": address} if address else {}),
        console="off",
        disable_code=True,
        disable_git=True,
        silent=True,
        x_disable_meta=True,
        x_disable_stats=True,
    )
    opened = client.init(
        project=os.environ.get("WANDB_PROJECT") or "paredown",
        name=run.unique,
        config=run.parameters,
        dir=str(folder),
        mode=mode,
        settings=settings,
    )
    place = f"{Path(opened.dir).parent} (wandb sync sends it)" if mode == "offline" else str(opened.url)
    return Sink(client, opened, place=place)
