"""Candidate labels asked of a model of inference: pieces, loss, learning, without a verb."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_inference
import torch

from compress import catalog
from compress.artifacts.artifact import Artifact
from compress.errors import ModelError, RecipeError
from compress.model import architecture
from compress.pipeline import building
from compress.recipe import DataConfig, Named, Recipe
from compress.tasks import Batch, Pieces
from deploy.predictor import Predictor

NAME = "zero-shot-classification"
TASK = catalog.task(NAME)
TEMPLATE = "the film is {} ."


def config(
    labels: tuple[str, ...] = tiny_inference.MOODS, names: tuple[str, ...] = tiny_inference.NAMES
) -> dict[str, Any]:
    """A ``config.json`` of a model of inference that is asked these labels."""
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "zero_shot": {"labels": list(tiny_inference.MOODS), "template": TEMPLATE},
    }


def test_a_model_that_says_what_it_is_asked_is_for_this_task(tmp_path: Path) -> None:
    """Its field names the task; without it, its class does; as a model of another task it loses the field."""
    plain = tiny_inference.model(tmp_path / "plain")
    assert architecture.infer_task(plain) == "text-classification"
    content = {**architecture.read_config(plain), **config()}
    assert architecture.marked_task(content) == NAME
    assert "zero_shot" not in architecture.without_marks(content, catalog.task("text-classification"))
    assert "zero_shot" in architecture.without_marks(content, TASK)


def test_the_loss_is_that_of_inference(tmp_path: Path) -> None:
    """Entailment for the label's own hypothesis, contradiction for the others, as transformers has it."""
    from transformers import BertForSequenceClassification

    folder = tiny_inference.model(tmp_path / "model")
    network = BertForSequenceClassification.from_pretrained(folder).eval()
    network.config.zero_shot = config()["zero_shot"]
    network.config.save_pretrained(folder)
    head, processor = TASK.head_of(network.config.to_dict()), TASK.load_processor(folder)
    rows = [{"text": "a lovely film", "label": 1}, {"text": "a dull and cold film", "label": 0}]
    pieces = TASK.pieces(rows, processor, None)
    assert pieces.owner.tolist() == [0, 0, 1, 1]
    batch = TASK.encode(pieces.rows, processor, head, None)
    assert batch.labels.tolist() == [0, 2, 2, 0]  # contradiction, entailment, entailment, contradiction
    labels = torch.from_numpy(batch.labels)
    inputs = {name: torch.from_numpy(array) for name, array in batch.inputs.items()}
    outputs = network(**inputs, labels=labels)
    assert TASK.loss(outputs, labels, head, batch).item() == pytest.approx(outputs.loss.item(), rel=1e-6)


def test_the_best_hypothesis_wins() -> None:
    """By hand: outputs for entailment 1 and 3 of one row are shares 1/(1 + e^2) and the rest."""
    head = TASK.head_of(config())
    logits = np.array([[9.0, 0.0, 1.0], [-9.0, 5.0, 3.0]], dtype=np.float32)
    batch = Batch(
        inputs={"input_ids": np.zeros((2, 1))}, labels=None, extras={"entailment": np.array([2, 2])}
    )
    predictions = TASK.decode({"logits": logits}, batch, head)
    (answer,) = TASK.joined(predictions, Pieces([{}, {}], np.array([0, 0])), head)
    assert answer.label == "lovely"
    assert answer.probabilities == pytest.approx((1 / (1 + np.e**2), 1 - 1 / (1 + np.e**2)))
    assert TASK.statistics([answer], [1], head).shape[0] == 1


def test_a_hypothesis_is_never_cut(tmp_path: Path) -> None:
    """The text gives way; where it could not, one sentence says so."""
    folder = tiny_inference.model(tmp_path / "model")
    content = architecture.read_config(folder) | config()
    head = TASK.head_of(content)
    (folder / "config.json").write_text(json.dumps(content))
    processor = TASK.load_processor(folder)
    pieces = TASK.pieces([{"text": "the film is good " * 9}], processor, 12).rows
    batch = TASK.encode(pieces, processor, head, 12)
    assert batch.truncated.all()
    for ids, label in zip(batch.inputs["input_ids"], tiny_inference.MOODS, strict=True):
        assert f"the film is {label}" in processor.decode(ids)
    with pytest.raises(ModelError, match="tokens with no text before it, and rows are cut to 6"):
        TASK.encode(pieces, processor, head, 6)


def test_options_of_other_models_are_refused(tmp_path: Path) -> None:
    """A model of inference has no pooling, and an embedder asks nothing."""
    folder = tiny_inference.model(tmp_path / "model")
    content = architecture.read_config(folder)
    with pytest.raises(RecipeError, match="pooling is of models that make vectors"):
        TASK.fields(folder, content, {"pooling": "cls"}, lambda: None)
    with pytest.raises(RecipeError, match="template is of models for zero-shot-classification"):
        catalog.task("text-embedding").fields(folder, content, {"template": "{}."}, lambda: None)


def test_finetune_teaches_it(tmp_path: Path) -> None:
    """On rows that say their label: the loss falls, and unseen rows are answered by their label."""
    data = tiny_inference.write(tmp_path / "data", train=200, evaluate=20)
    options = {"epochs": 15, "batch_size": 32, "learning_rate": 3e-3, "precision": "fp32"}
    recipe = Recipe(
        model=str(tiny_inference.model(tmp_path / "model")),
        task=NAME,
        data=DataConfig(source=str(data)),
        threads=1,
        stages=(
            Named(name="load", options={"template": TEMPLATE}),
            Named(name="finetune", options=options),
        ),
    )
    before, after = (step.artifact for step in building.run(recipe))
    unseen = tiny_inference.moods(40, 3)

    def right(artifact: Artifact) -> float:
        with Predictor(artifact) as predictor:
            answers = predictor.predict([row["text"] for row in unseen])
        return sum(a.label == row["label"] for a, row in zip(answers, unseen, strict=True)) / len(unseen)

    assert right(before) < 0.8
    assert right(after) > 0.95
    losses = [loss for _, loss in after.manifest.facts["training"]["losses"]]
    assert losses[-1] < 0.1 * losses[0]
