"""Every tracker on a local folder, read back with the tracker's own reader: nothing lost, nothing sent."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bench.trackers import Curve, Result, Run, Stage
from compress import catalog, environment
from compress.errors import MissingPiece

LIBRARIES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy"), "wandb": ("wandb",)}
RUN = Run("tiny", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), {"seed": "7", "stages.0.prune.keep": "0.5"})
LOSS = ((10, 0.875), (20, 0.5), (30, 0.25))
FIGURES = {"after/latency_p50_ms/batch 1, length data": 2.0, "after/odd|name/ratio": 0.25}


@dataclass
class Found:
    """What a reader finds: figures as (step, value), texts that were given, and names of kept files."""

    figures: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    status: str = ""


def read_tensorboard(folder: Path) -> Found:
    """Read with TensorBoard's event accumulator."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / RUN.unique)).Reload()
    tags = events.Tags()
    texts = {tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    return Found(
        figures={
            tag: [(scalar.step, scalar.value) for scalar in events.Scalars(tag)] for tag in tags["scalars"]
        },
        texts={word.strip() for text in texts.values() for word in text.replace("|", "\n").splitlines()},
        status=texts["status/text_summary"],
    )


def read_mlflow(folder: Path) -> Found:
    """Read with MLflow's client."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("paredown")
    (run,) = client.search_runs([experiment.experiment_id])
    store = Path(run.info.artifact_uri.removeprefix("file://"))
    assert store.is_relative_to(folder)
    return Found(
        figures={
            name: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        },
        texts={*run.data.params.values(), run.data.tags["verdict"]},
        files={path.relative_to(store).as_posix() for path in store.rglob("*") if path.is_file()},
        status=run.info.status,
    )


def records(file: Path) -> list[Any]:
    """The records of an offline W&B run: a LevelDB log (blocks of 32 KiB) of protocol buffers."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, entries, part, at = file.read_bytes(), [], b"", 7  # 7: the file's own header
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part = (b"" if kind in (1, 2) else part) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            entries.append(Record.FromString(part))
    return entries


def _items(entries: Any) -> dict[str, str]:
    """JSON values by their key, W&B's own ones left out."""
    named = {entry.key or "/".join(entry.nested_key): entry.value_json for entry in entries}
    return {name: value for name, value in named.items() if not name.startswith("_")}


def read_wandb(folder: Path) -> Found:
    """Read the log that ``wandb sync`` would send, once its writer, a process of its own, has ended it."""
    (file,) = folder.rglob("*.wandb")
    for _ in range(200):
        read = records(file)
        if any(record.WhichOneof("record_type") == "exit" for record in read):
            break
        time.sleep(0.05)
    tracked = Found()
    summary: dict[str, str] = {}
    for record in read:
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = _items(record.history.item)
            step = next(int(value) for name, value in row.items() if name.endswith("/step"))
            for name, value in row.items():
                tracked.figures.setdefault(name, []).append((step, float(value)))
        elif kind == "summary":
            summary |= _items(record.summary.update)
        elif kind in {"run", "config"}:
            config = record.run.config if kind == "run" else record.config
            for value in map(json.loads, _items(config.update).values()):
                tracked.texts |= set(value.values()) if isinstance(value, dict) else {value}
        elif kind == "artifact":
            place = {"report": "report/", "model": "model/"}.get(record.artifact.type, "stages/prune/")
            tracked.files |= {place + entry.path for entry in record.artifact.manifest.contents}
        elif kind == "exit":
            tracked.status = "finished" if record.exit.exit_code == 0 else "failed"
    tracked.texts.add(json.loads(summary.pop("verdict")))
    for name, value in summary.items():
        tracked.figures.setdefault(name, [(0, float(value))])
    return tracked


READERS: dict[str, Callable[[Path], Found]] = {
    "tensorboard": read_tensorboard,
    "mlflow": read_mlflow,
    "wandb": read_wandb,
}
SWITCHES = {"mlflow": ("MLFLOW_DISABLE_TELEMETRY", "true"), "wandb": ("WANDB_ERROR_REPORTING", "false")}
KEEP_FILES = {"mlflow", "wandb"}


@pytest.fixture(params=sorted(READERS))
def tracker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tracker's name; skipped where its client is not installed. Its own variables are not set."""
    name: str = request.param
    absent = [library for library in LIBRARIES[name] if importlib.util.find_spec(library) is None]
    if absent:
        pytest.skip(f"{', '.join(absent)} is not installed (pip install '.[{name}]')")
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without runs: making its tables takes seconds, so the tests copy this one."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    if importlib.util.find_spec("mlflow") and importlib.util.find_spec("sqlalchemy"):
        from mlflow import MlflowClient

        MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def folder(tracker: str, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A local folder for the tracker, with MLflow's tables in it."""
    root = tmp_path / "kept"
    root.mkdir()
    if tracker == "mlflow":
        shutil.copy(request.getfixturevalue("empty_database"), root)
    return root


def sent(tracker: str, folder: Path, location: str | None, succeeded: bool = True) -> str:
    """Send a run of one stage with its report and model; gives where the tracker says it is."""
    source = folder / "made"
    (source / "model").mkdir(parents=True)
    for name in ("manifest.json", "report.json", "report.html", "model/model.onnx"):
        (source / name).write_text(name)
    stage = Stage(
        name="prune",
        parameters={"keep": "0.5", "id": "abc123"},
        figures={"seconds": 12.0},
        curves=(Curve("rounds/0/recovery/loss", LOSS), Curve("rounds/0/recovery/accuracy", ((20, 0.75),))),
        manifest=source / "manifest.json",
    )
    result = Result(
        verdict="tiny: passed the gate",
        figures=FIGURES,
        text="# a report",
        files=(source / "report.json", source / "report.html"),
        model=source / "model",
    )
    sink = catalog.load("tracker", tracker).start(RUN, location)
    sink.stage(stage)
    sink.result(result)
    sink.close(succeeded)
    return str(sink.where)


def test_every_tracker_is_read_back_here() -> None:
    """A tracker that is added needs a reader of its own in this file."""
    assert set(catalog.names("tracker")) == set(READERS)


def test_what_is_sent_can_be_read_back(tracker: str, folder: Path, tmp_path: Path) -> None:
    """Curves with their steps, figures, parameters, verdict; files and model where the tracker keeps them."""
    assert str(folder) in sent(tracker, tmp_path, str(folder))
    tracked = READERS[tracker](folder)
    assert tracked.figures["prune/rounds/0/recovery/loss"] == list(LOSS)
    assert tracked.figures["prune/rounds/0/recovery/accuracy"] == [(20, 0.75)]
    assert tracked.figures["prune/seconds"] == [(0, 12.0)]
    bench = {name: points for name, points in tracked.figures.items() if name.startswith("bench/")}
    assert sorted(points[0][1] for points in bench.values()) == [0.25, 2.0]
    assert {"7", "0.5", "abc123", "tiny: passed the gate"} <= tracked.texts
    if tracker in KEEP_FILES:
        assert tracked.files == {
            "stages/prune/manifest.json",
            "report/report.json",
            "report/report.html",
            "model/model.onnx",
        }
    assert tracked.status.lower() == "finished"


def test_a_run_that_failed_is_said_to_have_failed(tracker: str, folder: Path, tmp_path: Path) -> None:
    """The tracker's own status says so."""
    sent(tracker, tmp_path, str(folder), succeeded=False)
    assert READERS[tracker](folder).status.lower() == "failed"


def test_without_a_location_a_local_folder_is_used(tracker: str, folder: Path, tmp_path: Path) -> None:
    """Nothing is sent: the tracker's usual folder, in or below the current one, gets it."""
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    sent(tracker, tmp_path, None)
    usual = {"tensorboard": tmp_path / "runs" / "tensorboard"}.get(tracker, tmp_path)
    assert READERS[tracker](usual).status.lower() == "finished"


@pytest.mark.parametrize("tracker", sorted(SWITCHES), indirect=True)
def test_usage_statistics_of_the_clients_are_off(
    tracker: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the clients report of their use to their makers stays off unless the user set it."""
    name, value = SWITCHES[tracker]
    monkeypatch.setenv(name, "to be replaced")
    monkeypatch.delenv(name)
    sent(tracker, tmp_path, str(folder))
    assert os.environ[name] == value


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_client_that_is_not_installed_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says which extra installs it."""

    def absent(module: str, extra: str | None = None, purpose: str = "") -> None:
        raise MissingPiece(f"{module} {extra} {purpose}")

    monkeypatch.setattr(environment, "require", absent)
    with pytest.raises(MissingPiece, match=f"{name} {name} --track {name}"):
        catalog.load("tracker", name).start(RUN, str(tmp_path))
