"""Killing a run at random moments loses only the stage under way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DRIVER = Path(__file__).parent / "kill_driver.py"
KILLS = 20
STEPS = 8


def drive(recipe: Path, folder: Path, kills: int, steps: int) -> dict[str, Any]:
    """Run the driver in a process of its own."""
    process = subprocess.run(
        [sys.executable, str(DRIVER), str(recipe), str(folder), str(kills), str(steps), "7"],
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.returncode == 0, process.stderr[-4000:]
    summary: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return summary


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kills_at_random_moments_change_nothing(tmp_path: Path, text_model: Path, text_data: Path) -> None:
    """After 28 SIGKILLs the same command ends as a run that nobody disturbed: content ids, what ships, files.

    20 come at a random time, while stages are under way; 8 at a random step in the output folder, while
    the recipe, the report and the models are put there.
    """
    training = {"epochs": 3, "batch_size": 16, "precision": "fp32", "checkpoint_seconds": 0.1}
    stages: list[dict[str, Any]] = [
        {"load": {}},
        {"finetune": training},
        {"distill": {"layers": 1, **training}},
        {
            "prune": {
                "criterion": "magnitude",
                "keep": 0.5,
                "round_to": 8,
                "recover": {**training, "epochs": 1},
            }
        },
        {"export-onnx": {}},
        {"quantize-onnx": {"mode": "dynamic"}},
        {"optimize-onnx": {}, "from": "export-onnx"},
    ]
    recipe = tmp_path / "recipe.yaml"
    content = {
        "model": str(text_model),
        "task": "text-classification",
        "data": {"source": str(text_data), "calibration": 16},
        "threads": 1,
        "stages": stages,
        "bench": {
            "probes": ["size"],
            "candidates": ["quantize-onnx"],
            "rounds": 2,
            "runs": 2,
            "threads": 1,
        },
    }
    recipe.write_text(yaml.safe_dump(content))
    undisturbed = drive(recipe, tmp_path / "quiet", 0, 0)
    killed = drive(recipe, tmp_path / "killed", KILLS, STEPS)
    assert killed["killed"] == KILLS
    assert killed["under_way"] > 0, "no kill hit a stage under way: the test shows nothing"
    assert any("model" in step for step in killed["steps"]), "no kill hit the shipping"
    assert killed["left"] == []
    assert {name: killed[name] for name in ("ids", "shipped", "out")} == {
        name: undisturbed[name] for name in ("ids", "shipped", "out")
    }
    assert killed["shipped"]["model"] == killed["ids"]["optimize-onnx"]
