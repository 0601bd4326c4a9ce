"""Estimates: by hand where nothing ran yet, from earlier runs where something did."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.artifacts.store import Store
from compress.pipeline import building, estimate, planning
from compress.pipeline.estimate import Workload, effort, training_seconds
from compress.recipe import DataConfig, Named, Recipe


def test_training_time_is_its_arithmetic() -> None:
    """6 x 1e6 parameters x 10 tokens x 1000 rows x 2 passes at 1e9 a second: 120 s."""
    work = Workload(parameters=1_000_000, rows=1000, tokens=10.0, bytes=4_000_000)
    assert training_seconds(work, 2, 1e9) == 120.0


def test_what_cannot_be_counted_is_not_estimated() -> None:
    """Without rows, words or weights there is no figure rather than a wrong one."""
    assert training_seconds(Workload(None, 1000, 10.0, None), 1, 1e9) is None
    assert training_seconds(Workload(1000, None, 10.0, None), 1, 1e9) is None
    assert training_seconds(Workload(1000, 1000, None, None), 1, 1e9) is None


def test_a_control_run_doubles_the_effort() -> None:
    """Passes come from the stage's own epochs, or from its recovery."""
    assert effort({"epochs": 3}) == 3
    assert effort({"epochs": 3, "control": True}) == 6
    assert effort({"recover": {"epochs": 2}}) == 2
    assert effort({}) == 1


def test_each_way_of_passing_twice_doubles_the_effort() -> None:
    """R-Drop and adversarial training, alone and together; values of 0 are off."""
    assert effort({"epochs": 3, "rdrop": 1.0, "adversarial": 0.0}) == 6
    assert effort({"epochs": 3, "rdrop": 1.0, "adversarial": 0.1}) == 12


def test_steps_are_passes_of_their_rows() -> None:
    """50 steps of 16 rows over 400 rows are two passes."""
    assert effort({"steps": 50, "batch_size": 16, "epochs": 3}, 400) == 2.0


def test_an_earlier_run_is_scaled_by_passes_and_rows(
    tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """What a run on 64 rows took says how long four times the passes over all the rows take."""
    store = Store(tmp_path / "store")

    def recipe(limit: int | None, epochs: int) -> Recipe:
        return Recipe(
            model=str(text_model),
            data=DataConfig(source=str(text_data), calibration=16, limit=limit),
            stages=(Named(name="finetune", options={"epochs": epochs, "precision": "fp32"}),),
        )

    built = building.run(recipe(64, 1), store)[-1].artifact.manifest
    planned = planning.plan(recipe(None, 4), store)[-1]
    rows = building.run(recipe(None, 1), Store(tmp_path / "other"))[-1].artifact.manifest.facts["data"][
        "rows"
    ]
    before = built.facts["data"]["rows"]["train"]
    assert planned.seconds == pytest.approx(built.facts["seconds"] * 4 * rows["train"] / before, abs=0.06)
    assert "on this data, scaled to 4 passes" in planned.basis


def test_the_speed_is_measured() -> None:
    """Any machine does more than a million operations a second."""
    assert estimate.operations_per_s() > 1e6


def test_a_plan_before_any_run_has_a_time_for_training(
    tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """Rows and weights are counted, nothing is written, and twice the epochs take twice as long."""

    def seconds(epochs: int) -> float:
        recipe = Recipe(
            model=str(text_model),
            data=DataConfig(source=str(text_data), calibration=16),
            stages=(Named(name="finetune", options={"epochs": epochs}), Named(name="export-onnx")),
        )
        steps = planning.plan(recipe, Store(tmp_path / "store"))
        assert steps[1].seconds is not None
        assert "rows" in steps[1].basis
        assert steps[2].seconds is None
        return steps[1].seconds

    assert seconds(4) / seconds(2) == 2.0
    assert not (tmp_path / "store").exists()
