"""Sending a run to trackers: what is sent, that a failing tracker disturbs nothing, and what is refused."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_bench

from bench import session, tracking
from bench.trackers import Curve, Result, Run, Stage
from compress import catalog
from compress.artifacts.store import Store
from compress.errors import RecipeError, UnknownName, UserError
from compress.recipe import read
from paredown import workflow

HISTORY = {
    "steps": 30,
    "losses": [[10, 0.9], [20, 0.5]],
    "evaluations": [{"step": 20, "epoch": 1.0, "metrics": {"accuracy": 0.75, "mcc": 0.5}}],
}


class Recorder:
    """A tracker that keeps what it gets, and fails where it is told to."""

    where = "in memory"

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[tuple[str, Any]] = []

    def start(self, run: Run, location: str | None) -> Recorder:
        self._got("start", (run, location))
        return self

    def stage(self, stage: Stage) -> None:
        self._got("stage", stage)

    def result(self, result: Result) -> None:
        self._got("result", result)

    def close(self, succeeded: bool) -> None:
        self._got("close", succeeded)

    def _got(self, event: str, value: Any) -> None:
        self.calls.append((event, value))
        if event == self.fails:
            raise ConnectionError("the server is gone")

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    """Trackers ``tensorboard`` and ``mlflow`` that only record."""
    trackers = {"tensorboard": Recorder(), "mlflow": Recorder()}
    real = catalog.load

    def load(shelf: Any, name: str) -> Any:
        return SimpleNamespace(start=trackers[name].start) if shelf == "tracker" else real(shelf, name)

    monkeypatch.setattr(catalog, "load", load)
    return trackers


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The messages of the run."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("paredown")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_tracker_is_named_with_or_without_a_place() -> None:
    """The first colon parts name and location; addresses keep theirs."""
    assert tracking.parse("tensorboard") == ("tensorboard", None)
    assert tracking.parse("mlflow:sqlite:///a/b.db") == ("mlflow", "sqlite:///a/b.db")
    with pytest.raises(RecipeError, match="takes NAME or NAME:LOCATION"):
        tracking.parse("mlflow:")
    with pytest.raises(UnknownName, match="Did you mean 'tensorboard'"):
        tracking.parse("tensorbord")


def test_options_are_flattened() -> None:
    """Groups and lists of groups become dotted keys; a list of values stays one."""
    stages = [{"name": "prune", "options": {"keep": 0.5}}]
    assert tracking.flat({"seed": 7, "bench": {"batch_sizes": [1, 8]}, "stages": stages}) == {
        "seed": "7",
        "bench.batch_sizes": "[1, 8]",
        "stages.0.name": "prune",
        "stages.0.options.keep": "0.5",
    }


def test_curves_are_found_wherever_a_stage_recorded_them() -> None:
    """Loss and every selection metric of each history, named by their place."""
    facts = {"training": HISTORY, "rounds": [{"kept": 3, "recovery": {**HISTORY, "evaluations": []}}]}
    assert tracking.curves(facts) == (
        Curve("training/loss", ((10, 0.9), (20, 0.5))),
        Curve("training/accuracy", ((20, 0.75),)),
        Curve("training/mcc", ((20, 0.5),)),
        Curve("rounds/0/recovery/loss", ((10, 0.9), (20, 0.5))),
    )
    assert tracking.curves({"losses": "none", "parity": {"cases": [1e-5]}}) == ()


def test_figures_carry_ratio_difference_and_intervals() -> None:
    """Each measurement by candidate and metric, at its grid point, with how sure it is."""
    figures = tracking.figures(tiny_bench.report())
    assert figures["after/size_bytes"] == 20e6
    assert figures["after/size_bytes/ratio"] == 0.25
    point = "after/latency_p50_ms/batch 1, length data"
    assert figures[point] == 2.0
    assert (figures[f"{point}/ratio_low"], figures[f"{point}/ratio_high"]) == (0.2, 0.3125)
    assert figures["after/accuracy/difference"] == pytest.approx(-0.01)
    assert (figures["after/accuracy/difference_low"], figures["after/accuracy/difference_high"]) == (
        -0.02,
        0.0,
    )


def test_every_tracker_gets_everything(recorders: dict[str, Recorder], tmp_path: Path) -> None:
    """Start with the parameters, each stage, the result with verdict and files, and the end."""
    folder = tiny_bench.fake_artifact(tmp_path / "a").path
    artifact = tiny_bench.seal(folder, facts={"training": HISTORY, "seconds": 3})
    with tracking.following(["tensorboard:logs", "mlflow"], "mine", {"seed": 7}) as tracker:
        tracker.sealed("distill", artifact)
        tracker.finished(tiny_bench.report(), [tmp_path / "report.json"], tmp_path / "model")
    for recorder in recorders.values():
        assert recorder.names == ["start", "stage", "result", "close"]
        (_, (run, _)), (_, stage), (_, result), (_, succeeded) = recorder.calls
        assert (run.name, run.parameters) == ("mine", {"seed": "7"})
        assert stage.parameters["id"] == artifact.id
        assert stage.figures == {"size_bytes": artifact.size_bytes, "seconds": 3}
        assert [curve.name for curve in stage.curves][:1] == ["training/loss"]
        assert json.loads(stage.manifest.read_text())["task"] == "text-classification"
        assert result.verdict == "after: measured, not judged (no gates)"
        assert (result.files, result.model) == ((tmp_path / "report.json",), tmp_path / "model")
        assert "| after | pytorch |" in result.text
        assert succeeded
    assert recorders["tensorboard"].calls[0][1][1] == "logs"
    assert recorders["mlflow"].calls[0][1][1] is None


def test_a_tracker_that_fails_disturbs_neither_the_run_nor_the_other(
    recorders: dict[str, Recorder], messages: list[str], tmp_path: Path
) -> None:
    """It is said once, gets nothing more, and is said again at the end."""
    recorders["mlflow"].fails = "stage"
    artifact = tiny_bench.fake_artifact(tmp_path / "a")
    with tracking.following(["mlflow", "tensorboard"], "mine", {}) as tracker:
        tracker.sealed("load", artifact)
        tracker.sealed("distill", artifact)
        tracker.finished(tiny_bench.report(), [], None)
    assert recorders["mlflow"].names == ["start", "stage"]
    assert recorders["tensorboard"].names == ["start", "stage", "stage", "result", "close"]
    assert messages == [
        "the tracker 'mlflow' failed while sending stage 'load' (ConnectionError: the server is gone): "
        "it gets nothing more, the run goes on",
        "tracked with tensorboard: in memory",
        "not everything was tracked: the tracker 'mlflow' failed while sending stage 'load' "
        "(ConnectionError: the server is gone); the run's own files are whole",
    ]


def test_a_tracker_that_cannot_be_opened_is_refused_before_anything_runs(
    recorders: dict[str, Recorder],
) -> None:
    """The user's mistake is said with what to do; what was opened already is closed as failed."""
    recorders["mlflow"].fails = "start"
    reason = r"'mlflow' cannot be opened at 'x' \(ConnectionError.*give another --track mlflow:LOCATION"
    opened = tracking.following(["tensorboard", "mlflow:x"], "mine", {})
    with pytest.raises(UserError, match=reason), opened:
        pytest.fail("the run began")
    assert recorders["tensorboard"].calls[-1] == ("close", False)
    twice = tracking.following(["mlflow:a", "mlflow:b"], "mine", {})
    with pytest.raises(RecipeError, match="twice"), twice:
        pytest.fail("the run began")


def test_a_run_that_fails_is_closed_as_failed(recorders: dict[str, Recorder]) -> None:
    """The exception goes on its way."""
    with pytest.raises(ZeroDivisionError), tracking.following(["mlflow"], "mine", {}):
        raise ZeroDivisionError
    assert recorders["mlflow"].calls[-1] == ("close", False)


def test_only_the_main_process_tracks(
    recorders: dict[str, Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several that train together, one sends."""
    monkeypatch.setenv("RANK", "1")
    with tracking.following(["mlflow"], "mine", {}) as tracker:
        tracker.finished(tiny_bench.report(), [], None)
    assert recorders["mlflow"].names == []


def test_a_run_tracks_each_stage_as_it_is_sealed(
    recorders: dict[str, Recorder],
    text_model: Path,
    text_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A small recipe: load, finetune with its curves, then the report's files and the model to ship."""
    monkeypatch.setattr(session, "measure", lambda *_, **__: tiny_bench.report())
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {text_model}\n"
        f"data: {{source: {text_data}, limit: 32}}\n"
        "stages:\n  - finetune: {epochs: 1}\n"
    )
    outcome = workflow.run(read(recipe), tmp_path / "out", Store(tmp_path / "store"), ["tensorboard"])
    sent = recorders["tensorboard"]
    assert sent.names == ["start", "stage", "stage", "result", "close"]
    load, tuned = (value for name, value in sent.calls if name == "stage")
    assert (load.name, tuned.name) == ("load", "finetune")
    loss = next(curve for curve in tuned.curves if curve.name == "training/loss")
    history = outcome.built[-1].artifact.manifest.facts["training"]
    assert loss.points == tuple((step, value) for step, value in history["losses"])
    result = next(value for name, value in sent.calls if name == "result")
    assert all(file.is_file() for file in result.files)
    assert {file.name for file in result.files} == {"report.json", "report.html", "report.md", "junit.xml"}
    assert result.model == outcome.out / "model"
    assert (result.model / "manifest.json").is_file()
