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


def drive(recipe: Path, store: Path, kills: int) -> dict[str, Any]:
    """Run the driver in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(recipe), str(store), str(kills), "7"],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(
    tmp_path: Path, text_model: Path, text_data: Path
) -> None:
    """After 20 SIGKILLs the same command ends with the content ids of a run that nobody disturbed."""
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
    ]
    recipe = tmp_path / "recipe.yaml"
    content = {
        "model": str(text_model),
        "task": "text-classification",
        "data": {"source": str(text_data), "calibration": 16},
        "threads": 1,
        "stages": stages,
    }
    recipe.write_text(yaml.safe_dump(content))
    undisturbed = drive(recipe, tmp_path / "quiet", 0)
    killed = drive(recipe, tmp_path / "killed", KILLS)
    assert killed["killed"] == KILLS
    assert killed["under_way"] > 0, "no kill hit a stage under way: the test shows nothing"
    assert killed["left"] == []
    assert killed["ids"] == undisturbed["ids"]
