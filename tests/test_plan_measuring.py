"""What ``plan`` says of the measuring that follows the stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import tiny_deploy
from typer.testing import CliRunner

from paredown.app import app


def test_plan_says_that_measuring_comes_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate is of the stages; how many candidates are measured after them is said beside it."""
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    model = tiny.text_model(tmp_path / "teacher", layers=2)
    data = tiny.text_data(tmp_path / "data")
    result = CliRunner().invoke(app, ["plan", "text-int8", "--model", str(model), "--data", str(data)])
    assert result.exit_code == 0, result.output
    output = " ".join(result.stdout.split())
    assert "3 of 3 stages to do" in output
    assert "Then 3 candidates are measured, whose time is not in the estimate" in output


def test_a_sealed_model_is_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe that starts from an artifact of the store measures that beside what it makes of it."""
    monkeypatch.setenv("PAREDOWN_STORE", str(tmp_path / "store"))
    model = tiny_deploy.text_artifact(tmp_path / "sealed").path
    data = tiny.text_data(tmp_path / "data")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: text-classification\nstages:\n  - export-onnx: {}\n")
    result = CliRunner().invoke(app, ["plan", str(recipe), "--model", str(model), "--data", str(data)])
    assert result.exit_code == 0, result.output
    assert "Then 2 candidates are measured" in " ".join(result.stdout.split())
