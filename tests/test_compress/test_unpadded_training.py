"""A model whose answers depend on padding is never given a padded row: not in training, nor in pruning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_deploy
import transformers

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.model import limit
from compress.pipeline import building
from compress.recipe import DataConfig
from compress.training.batching import apart, plan_epoch, steps_per_epoch

FORWARD = transformers.BertForSequenceClassification.forward
EPOCH = {"epochs": 1, "batch_size": 8}


def left_padded(folder: Path) -> Path:
    """A BERT whose tokenizer pads on the left, so that padding moves the positions of the words."""
    tiny.text_model(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": "left"}))
    return folder


@pytest.fixture
def sealed(tmp_path: Path) -> Artifact:
    """An artifact whose rows may not be padded."""
    folder = left_padded(tmp_path / "sealed")
    limit.write(folder, limit.Limit(32, "model"), padding=False)
    return tiny_deploy.seal(folder)


@pytest.fixture
def rows(tmp_path: Path) -> DataConfig:
    """Texts of many lengths."""
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", tiny.sentences(64, seed=3))
    return DataConfig(source=str(tmp_path / "data"))


def test_rows_of_two_lengths_never_share_a_batch() -> None:
    """Beside the groups that are kept apart anyway; lengths alone decide nothing where rows may be padded."""
    lengths, groups = np.array([3, 5, 3, 5, 3]), np.array([0, 0, 1, 0, 0])
    combined = apart(lengths, groups, pads=False)
    assert combined is not None
    plan = plan_epoch(lengths, 5, 8, seed=0, epoch=0, groups=combined)
    assert sorted(sorted(batch.tolist()) for batch in plan) == [[0, 4], [1, 3], [2]]
    assert steps_per_epoch(5, 8, combined) == 3
    assert apart(lengths, groups, pads=True) is groups
    assert apart(None, groups, pads=False) is groups


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("finetune", EPOCH),
        ("distill", {"layers": 1, "rule": "search", "control": True, **EPOCH}),
        ("distill", {"layers": 1, "rule": "block-influence", **EPOCH}),
        ("prune", {"keep": 0.5, "round_to": 8, "rows": 32, "recover": EPOCH}),
        ("calibrate", {"temperature": 2.0}),
    ],
)
def test_no_stage_gives_it_a_padded_row(
    stage: str,
    options: dict[str, Any],
    sealed: Artifact,
    rows: DataConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever the model is asked, every position is a real one; the result says the same of itself."""
    sizes: list[int] = []

    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        mask = named["attention_mask"]
        assert bool(mask.all()), "a padded row reached the model"
        sizes.append(len(mask))
        return FORWARD(self, *arguments, **named)

    monkeypatch.setattr(transformers.BertForSequenceClassification, "forward", watched)
    with caplog.at_level("WARNING", logger="paredown"):
        artifact = building.run_stage(
            stage,
            sealed.path,
            options=options,
            data_config=rows,
            threads=1,
            store=Store(tmp_path / "store"),
        )
    assert max(sizes) > 1
    assert not limit.read_padding(artifact.path)
    if stage != "calibrate":
        assert artifact.manifest.facts["batches"] == "of one length"
        assert "batches of rows of one length" in caplog.text


def test_a_student_of_its_own_is_measured(
    rows: DataConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A plain folder brings no word about padding: what is made of it says what was found."""
    teacher = left_padded(tmp_path / "teacher")
    student = left_padded(tmp_path / "student")
    with caplog.at_level("WARNING", logger="paredown"):
        artifact = building.run_stage(
            "distill",
            teacher,
            options={"student": str(student), **EPOCH},
            data_config=rows,
            threads=1,
            store=Store(tmp_path / "store"),
        )
    assert artifact.manifest.facts["student_padding"]["largest"] > 1e-4
    assert "The answers of this student depend on how far a row is padded" in caplog.text
    assert not limit.read_padding(artifact.path)
    assert catalog.load("task", artifact.task).load_processor(artifact.path).padding_side == "left"
