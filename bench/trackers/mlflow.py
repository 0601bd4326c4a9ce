"""MLflow: parameters, curves, figures, the report's files and the shipped model, as one MLflow run.

A location is a folder (``FOLDER/mlflow.db`` with the files beside it), or a tracking address such as
``sqlite:///mlflow.db`` or that of a server. Without one, ``MLFLOW_TRACKING_URI`` decides, and where that is
not set, ``mlflow.db`` in the current folder, which is where ``mlflow ui`` looks. ``MLFLOW_EXPERIMENT_NAME``
names the experiment, ``paredown`` otherwise.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.trackers import Result, Run, Stage
from compress import environment

# What MLflow takes in one call, and how long a parameter may be.
_METRICS, _PARAMETERS, _LENGTH = 1000, 100, 6000
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")


def _name(text: str) -> str:
    return _NOT_ALLOWED.sub("_", text)


def _address(location: str | None) -> tuple[str, Path | None]:
    """The tracking address, and the folder of the files where that is ours to say."""
    named = location if location and ":" in location else os.environ.get("MLFLOW_TRACKING_URI")
    if named and (location is None or location == named):
        return named, None
    folder = Path(location or ".").expanduser().absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts"


class Sink:
    """One run of an experiment."""

    def __init__(self, client: Any, run: Any, place: str) -> None:
        self._client = client
        self._id = run.info.run_id
        self._time = run.info.start_time
        self.where = place

    def _parameters(self, prefix: str, parameters: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        entries = [Param(_name(f"{prefix}{key}"), value[:_LENGTH]) for key, value in parameters.items()]
        for part in _parts(entries, _PARAMETERS):
            self._client.log_batch(self._id, params=part)

    def _metrics(self, points: Sequence[tuple[str, int, float]]) -> None:
        from mlflow.entities import Metric

        entries = [Metric(_name(name), value, self._time, step) for name, step, value in points]
        for part in _parts(entries, _METRICS):
            self._client.log_batch(self._id, metrics=part)

    def begin(self, parameters: Mapping[str, str]) -> None:
        """Send the run's own parameters."""
        self._parameters("", parameters)

    def stage(self, stage: Stage) -> None:
        """Send a stage's parameters, figures, curves and manifest."""
        self._parameters(f"{stage.name}.", stage.parameters)
        self._metrics(
            [(f"{stage.name}/{name}", 0, value) for name, value in stage.figures.items()]
            + [
                (f"{stage.name}/{curve.name}", step, value)
                for curve in stage.curves
                for step, value in curve.points
            ]
        )
        self._client.log_artifact(self._id, str(stage.manifest), f"stages/{_name(stage.name)}")

    def result(self, result: Result) -> None:
        """Send the report's figures and files, and the model."""
        self._metrics([(f"bench/{name}", 0, value) for name, value in result.figures.items()])
        self._client.set_tag(self._id, "verdict", result.verdict)
        for file in result.files:
            self._client.log_artifact(self._id, str(file), "report")
        if result.model is not None:
            self._client.log_artifacts(self._id, str(result.model), "model")

    def close(self, succeeded: bool) -> None:
        """End the run as finished or failed."""
        self._client.set_terminated(self._id, "FINISHED" if succeeded else "FAILED")


def _parts(entries: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(entries[at : at + size]) for at in range(0, len(entries), size)]


def start(run: Run, location: str | None) -> Sink:
    """Begin a run in the experiment, which is made where it is not there yet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when it is imported
    environment.require("mlflow", extra="mlflow", purpose="--track mlflow")
    address, files = _address(location)
    if address.startswith("sqlite:"):
        environment.require("sqlalchemy", extra="mlflow", purpose="--track mlflow on a local file")
    from mlflow import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    client = MlflowClient(tracking_uri=address)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "paredown"
    existing = client.get_experiment_by_name(name)
    place = files.as_uri() if files else None
    experiment = (
        existing.experiment_id if existing else client.create_experiment(name, artifact_location=place)
    )
    sink = Sink(
        client,
        client.create_run(experiment, run_name=run.unique),
        place=f"experiment '{name}' at {address} (mlflow ui --backend-store-uri {address})",
    )
    sink.begin(run.parameters)
    return sink
