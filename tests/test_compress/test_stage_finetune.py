"""The finetune stage end to end on a tiny classifier: what it learns, its head, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
import transformers

from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.errors import DataError, RecipeError, TrainingError
from compress.model import checkpoint
from compress.pipeline import building
from compress.recipe import DataConfig, validate
from compress.stages import finetune
from compress.tasks import text_classification as task

_LEARNS: dict[str, Any] = {"epochs": 8, "batch_size": 8}
_FAST: dict[str, Any] = {"epochs": 4, "batch_size": 16, "learning_rate": 2e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny model and its data."""
    root = tmp_path_factory.mktemp("finetune")
    data = DataConfig(source=str(tiny.text_data(root / "data")))
    folder = tiny.text_model(root / "model")
    return SimpleNamespace(root=root, data=data, folder=folder)


def run(subject: SimpleNamespace, store: Path, folder: Path | None = None, **changes: Any) -> Artifact:
    """The stage on a folder."""
    data = changes.pop("data", subject.data)
    seed = changes.pop("seed", 0)
    task_name = changes.pop("task", None)
    return building.run_stage(
        "finetune",
        folder or subject.folder,
        options={**_FAST, **changes},
        data_config=data,
        task=task_name,
        seed=seed,
        store=Store(store),
        threads=1,
    )


def base_of(folder: Path, out: Path) -> Path:
    """The same encoder without a head, as a base model is published."""
    model = transformers.AutoModel.from_pretrained(folder)
    model.save_pretrained(out)
    tiny.save_tokenizer(out)
    return out


def test_a_classifier_learns_its_data(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Selection accuracy reaches 95 % and the manifest tells the story of the run."""
    artifact = run(subject, tmp_path, **_LEARNS)
    facts = artifact.manifest.facts
    history = facts["training"]
    assert facts["head"] == "kept"
    assert facts["truncated_share"] == 0.0
    assert history["precision"] == "fp32"
    assert [e["epoch"] for e in history["evaluations"]] == list(range(1, 9))
    best = next(e for e in history["evaluations"] if e["step"] == history["best_step"])
    assert best["metrics"]["accuracy"] >= 0.95
    assert history["losses"][-1][1] < history["losses"][0][1]
    assert history["seconds"] > 0
    names = set(artifact.manifest.files)
    assert {"config.json", "model.safetensors", "tokenizer.json", "encoding.json"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)


def test_the_result_is_what_scored_best(subject: SimpleNamespace, tmp_path: Path) -> None:
    """The saved model reproduces the recorded selection figures, and loads with plain from_pretrained."""
    from compress import data
    from compress.training.selection import Selection

    artifact = run(subject, tmp_path)
    history = artifact.manifest.facts["training"]
    best = next(e for e in history["evaluations"] if e["step"] == history["best_step"])
    model = checkpoint.load(artifact.path, task)
    head = task.head_of(model.config.to_dict())
    rows = data.load(subject.data, task, 0).training.for_head(task, head).selection
    limit = checkpoint.read_max_length(artifact.path)
    selection = Selection(task, head, rows, task.load_processor(artifact.path), limit)
    assert selection(model) == pytest.approx(best["metrics"])
    again = transformers.AutoModelForSequenceClassification.from_pretrained(artifact.path)
    assert all(torch.equal(again.state_dict()[k], v) for k, v in model.state_dict().items())


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    subject: SimpleNamespace, tmp_path: Path
) -> None:
    """On a CPU with fixed threads the content id follows from the seed."""
    first = run(subject, tmp_path / "a", epochs=1)
    second = run(subject, tmp_path / "b", epochs=1)
    reseeded = run(subject, tmp_path / "c", epochs=1, seed=1)
    assert first.id == second.id
    assert first.id != reseeded.id


def test_a_base_model_gets_the_head_of_the_data(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Without a head in the folder, one with the data's labels is trained."""
    base = base_of(subject.folder, tmp_path / "base")
    artifact = run(subject, tmp_path / "store", base, task="text-classification", **_LEARNS)
    config = checkpoint.read_config(artifact.path)
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    history = artifact.manifest.facts["training"]
    assert max(e["metrics"]["accuracy"] for e in history["evaluations"]) >= 0.9


def test_labels_that_a_trained_head_lacks_are_refused(subject: SimpleNamespace, tmp_path: Path) -> None:
    """One typing error in a row does not cost the head: the label is named, and the option that would."""
    rows = [
        {"text": r["text"], "label": ["negative", "positive"][int(str(r["label"]))]}
        for r in tiny.sentences(80, 1)
    ]
    rows[30]["label"] = "positve"
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    with pytest.raises(DataError, match=r"positve.*made for these labels; or train .*--set head=new"):
        run(subject, tmp_path / "store", data=DataConfig(train=str(tmp_path / "data/train.jsonl")), steps=1)


def test_data_without_one_label_of_the_head_gets_a_new_one(
    subject: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The data is another task's: the head is replaced, and that is said and recorded."""
    names = ["weather", "<b>"]
    rows = [{"text": r["text"], "label": names[int(str(r["label"]))]} for r in tiny.sentences(80, 1)]
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    data = DataConfig(train=str(tmp_path / "data/train.jsonl"))
    artifact = run(subject, tmp_path / "store", data=data, steps=1)
    assert checkpoint.read_config(artifact.path)["id2label"] == {"0": "<b>", "1": "weather"}
    assert artifact.manifest.facts["head"] == "replaced"
    assert "the model answers negative, positive, of which the data has none (<b>, weather)" in caplog.text


def test_a_new_head_is_trained_where_it_is_asked_for(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Three labels on a model of two: the head is built anew and the encoder's weights are the start."""
    rows = tiny.sentences(160, 1)
    named = ["bad", "so-so", "good"]
    three = [{"text": r["text"], "label": named[i % 3]} for i, r in enumerate(rows)]
    tiny.write_jsonl(tmp_path / "data" / "train.jsonl", three)
    artifact = run(
        subject,
        tmp_path / "store",
        data=DataConfig(train=str(tmp_path / "data/train.jsonl")),
        steps=1,
        learning_rate=1e-12,
        head="new",
    )
    assert artifact.manifest.facts["head"] == "replaced"
    labels = checkpoint.read_config(artifact.path)["id2label"]
    assert sorted(labels.values()) == sorted(named)
    model = checkpoint.load(artifact.path, task)
    source = checkpoint.load(subject.folder, task)
    assert model.classifier.out_features == 3
    weight = "bert.encoder.layer.1.output.dense.weight"
    assert torch.allclose(model.state_dict()[weight], source.state_dict()[weight], atol=1e-6)


def test_a_pruned_model_trains_and_reloads(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Shapes that the configuration cannot express go through training unchanged."""
    store = Store(tmp_path)
    pruned = building.run_stage(
        "prune",
        subject.folder,
        options={"keep": 0.5, "round_to": 8, "rows": 64, "recover": {"epochs": 0}},
        data_config=subject.data,
        store=store,
        threads=1,
    )
    artifact = run(subject, tmp_path, pruned.path, epochs=1)
    before = {n: t.shape for n, t in checkpoint.load(pruned.path, task).state_dict().items()}
    after = {n: t.shape for n, t in checkpoint.load(artifact.path, task).state_dict().items()}
    assert before == after
    assert checkpoint.SHAPES in artifact.manifest.files


def test_a_diverging_run_leaves_nothing(subject: SimpleNamespace, tmp_path: Path) -> None:
    """A model whose outputs overflow stops with the place and seals no artifact."""
    folder = tiny.text_model(tmp_path / "model")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data.fill_(3e38)
    model.save_pretrained(folder)
    with pytest.raises(TrainingError, match=r"finetune: the loss is not a finite number in epoch 1, step 1"):
        run(subject, tmp_path / "store", folder)


def test_options_are_checked(subject: SimpleNamespace) -> None:
    """An unknown or impossible option names itself and the known ones."""
    with pytest.raises(RecipeError, match=r"unknown key 'epoch'.*Known keys: epochs"):
        validate(finetune.Config, {"epoch": 3}, "finetune")
    with pytest.raises(RecipeError, match="learning_rate"):
        validate(finetune.Config, {"learning_rate": 0}, "finetune")
    assert finetune.reads(finetune.Config()) == ()


def test_data_of_one_class_is_refused(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Nothing can be learned from one label."""
    rows = [{"text": r["text"], "label": "positive"} for r in tiny.sentences(60, 1)]
    tiny.write_jsonl(tmp_path / "train.jsonl", rows)
    with pytest.raises(DataError, match="one class only"):
        run(subject, tmp_path / "store", data=DataConfig(train=str(tmp_path / "train.jsonl")))


def test_a_killed_run_goes_on_from_its_scratch(
    subject: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted in the middle, the same command gives the same content id as one that was not."""
    from compress.training.objectives import TaskObjective

    uninterrupted = run(subject, tmp_path / "a", checkpoint_seconds=0)
    plain = TaskObjective.__call__
    steps = []

    def stopping(self: TaskObjective, model: Any, batch: Any) -> torch.Tensor:
        steps.append(len(batch))
        if len(steps) == 20:
            raise KeyboardInterrupt
        return plain(self, model, batch)

    monkeypatch.setattr(TaskObjective, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(subject, tmp_path / "b", checkpoint_seconds=0)
    resumed = run(subject, tmp_path / "b", checkpoint_seconds=0)
    total = json.loads(json.dumps(uninterrupted.manifest.facts["training"]["steps"]))
    assert len(steps) == total + 1  # the broken step once more, and none of those before it
    assert resumed.id == uninterrupted.id
