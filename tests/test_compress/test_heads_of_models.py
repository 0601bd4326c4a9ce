"""A head is the model's own: decided by its weights, named by its configuration, never by the data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_embedders
import torch
import transformers
from safetensors.torch import load_file, save_file

import deploy
from compress import catalog, data
from compress.artifacts.artifact import Artifact
from compress.data.label_form import settle
from compress.errors import DataError, ModelError, RecipeError
from compress.model import checkpoint, identity, label_order
from compress.pipeline import building, planning
from compress.pipeline.chain import LOAD
from compress.recipe import DataConfig, Recipe, StageEntry
from compress.stage import Context
from compress.stages import finetune
from compress.tasks import Head, text_classification
from compress.tasks import _heads as heads

TASK = catalog.load("task", "text-classification")
EXPORT = (StageEntry(name="export-onnx", options={}),)


def edit_config(folder: Path, **changes: Any) -> None:
    """Change or, with None, remove members of a config.json."""
    file = folder / "config.json"
    content = json.loads(file.read_text())
    for name, value in changes.items():
        content.pop(name, None)
        if value is not None:
            content[name] = value
    file.write_text(json.dumps(content))


def other_head(source: Path, folder: Path, cls: Any) -> Path:
    """A model with the source's base configuration and another head, with its tokenizer."""
    config = transformers.AutoConfig.from_pretrained(source)
    cls(config).save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder


@pytest.mark.parametrize("architectures", [None, ["BertForMaskedLM"], ["BertModel"]])
def test_a_whole_head_in_the_weights_keeps_its_own_names(
    text_model: Path, text_data: Path, architectures: list[str] | None
) -> None:
    """A copied or absent ``architectures`` gave the data's names, 32 of 32 turned round (EuroEval 708)."""
    edit_config(
        text_model,
        architectures=architectures,
        id2label={"0": "positive", "1": "negative"},
        label2id={"positive": 0, "negative": 1},
    )
    opened = building.open_artifact(
        text_model, task="text-classification", data_config=DataConfig(source=str(text_data))
    )
    assert text_classification.head_of(checkpoint.read_config(opened.path)).labels == ("positive", "negative")
    assert opened.manifest.facts["head"] == "trained"


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (transformers.BertModel, "is a BertModel, an encoder without a head for a task"),
        (transformers.BertForMaskedLM, "is a BertForMaskedLM, a language model that fills in masked words"),
        (transformers.BertLMHeadModel, "is a BertLMHeadModel, a language model that continues texts"),
    ],
)
def test_a_model_without_the_head_is_told_what_it_is(
    text_model: Path, text_data: Path, tmp_path: Path, cls: Any, words: str
) -> None:
    """Planning, running and opening refuse it before anything is built, and say how to make a head."""
    folder = other_head(text_model, tmp_path / "other", cls)
    recipe = Recipe(
        model=str(folder),
        task="text-classification",
        data=DataConfig(source=str(text_data)),
        stages=EXPORT,
    )
    for refuse in (
        lambda: planning.check(recipe),
        lambda: planning.plan(recipe),
        lambda: building.run(recipe),
        lambda: building.open_artifact(folder, task="text-classification"),
    ):
        with pytest.raises(ModelError, match=words) as refused:
            refuse()
        assert f"paredown finetune {folder} --task text-classification" in str(refused.value)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("modules.json", "an embedding model of sentence-transformers"),
        ("config_setfit.json", "a SetFit model, a classifier on the vectors of an embedding model"),
    ],
)
def test_folders_of_other_libraries_are_named(
    text_model: Path, tmp_path: Path, file: str, words: str
) -> None:
    """A sentence-transformers folder, or one of SetFit without its modules, is no classifier (setfit 78)."""
    folder = other_head(text_model, tmp_path / "other", transformers.BertModel)
    (folder / file).write_text(json.dumps(tiny_embedders.modules("")))
    with pytest.raises(ModelError, match=words):
        building.open_artifact(folder, task="text-classification")


def test_a_recipe_that_trains_the_head_takes_the_model(
    text_model: Path, text_data: Path, tmp_path: Path
) -> None:
    """``finetune`` behind ``load`` is what such a model is for; other branches from ``load`` are refused."""
    folder = other_head(text_model, tmp_path / "base", transformers.BertModel)
    train = StageEntry(name="finetune", options={"epochs": 1})
    chosen = DataConfig(source=str(text_data))
    good = Recipe(model=str(folder), task="text-classification", data=chosen, stages=(train, *EXPORT))
    assert planning.check(good).labels == (LOAD, "finetune", "export-onnx")
    beside = StageEntry(name="export-onnx", options={}, source=LOAD, label="raw")
    with pytest.raises(ModelError, match="no trained head"):
        planning.check(good.model_copy(update={"stages": (train, beside)}))


def test_fresh_weights_are_measured_only_where_that_is_asked_for(text_data: Path) -> None:
    """An architecture without training is chance; ``untrained: true`` says that speed alone is wanted."""
    architecture = {
        "model_type": "vit",
        "image_size": 8,
        "patch_size": 4,
        "num_channels": 1,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    digits = DataConfig(source="sklearn:digits", limit=100)

    def recipe(**options: Any) -> Recipe:
        load = StageEntry(name=LOAD, options={"architecture": architecture, **options})
        return Recipe(task="image-classification", data=digits, stages=(load, *EXPORT))

    with pytest.raises(ModelError, match="an architecture has fresh weights"):
        planning.check(recipe())
    assert planning.check(recipe(untrained=True)).labels == (LOAD, "export-onnx")


def test_the_weights_alone_say_whether_there_is_a_head(text_model: Path, tmp_path: Path) -> None:
    """Names in the header decide; a damaged header is a sentence."""
    content = checkpoint.read_config(text_model)
    assert not identity.lacks_head(text_model, content, TASK)
    base = other_head(text_model, tmp_path / "base", transformers.BertModel)
    assert identity.lacks_head(base, content, TASK)
    file = base / "model.safetensors"
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged .* header would be"):
        identity.lacks_head(base, content, TASK)


def test_an_order_that_fits_far_better_is_found() -> None:
    """Turned labels are sure with 32 rows; chance, few rows and the right order are not."""
    labels = [0, 1] * 16
    turned = label_order.fit([1 - label for label in labels], labels, 2)
    assert (turned.given, turned.best, turned.order, turned.wrong) == (0.0, 1.0, (1, 0), True)
    right = label_order.fit(labels, labels, 2)
    assert (right.given, right.best, right.wrong) == (1.0, 1.0, False)
    assert not label_order.fit([1, 0, 1, 0], [0, 1, 0, 1], 2).wrong
    chance = label_order.fit([0, 0, 1, 1] * 16, [0, 1, 0, 1] * 16, 2)
    assert (chance.given, chance.wrong) == (0.5, False)
    rotated = label_order.fit([(label + 1) % 3 for label in [0, 1, 2] * 20], [0, 1, 2] * 20, 3)
    assert rotated.order == (2, 0, 1)
    assert rotated.wrong


def test_labels_in_another_order_than_the_heads_are_refused(text_model: Path, tmp_path: Path) -> None:
    """Plain ids in the reverse order (transformers 12822): refused with both accuracies; names mend it."""
    opened = building.open_artifact(text_model)
    labels = text_classification.head_of(checkpoint.read_config(opened.path)).labels
    texts = [str(row["text"]) for row in tiny.sentences(80, seed=3)]
    with deploy.load(opened.path) as model:
        scores = [prediction.probabilities[1] for prediction in model.predict(texts)]
    # An untrained head leans to one side: its bias is moved to the middle of what it says.
    middle = float(np.median(scores))
    weights = load_file(text_model / "model.safetensors")
    weights["classifier.bias"] -= torch.tensor([0.0, math.log(middle / (1 - middle))])
    save_file(weights, text_model / "model.safetensors", metadata={"format": "pt"})
    answers = [int(score > middle) for score in scores]
    turned = [{"text": text, "label": 1 - answer} for text, answer in zip(texts, answers, strict=True)]
    tiny.write_jsonl(tmp_path / "turned" / "train.jsonl", turned)
    tiny.write_jsonl(tmp_path / "turned" / "validation.jsonl", turned[:8])
    chosen = DataConfig(source=str(tmp_path / "turned"))
    with pytest.raises(ModelError, match=r"fit another order: .* right as given, 100\.0 % with 1 = "):
        building.open_artifact(text_model, data_config=chosen)
    (tmp_path / "turned" / "labels.json").write_text(json.dumps([labels[1], labels[0]]))
    assert building.open_artifact(text_model, data_config=chosen).kind == "torch"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"0": "other", "1": "other", "2": "good"}, r"has the name 'other' for the ids 0, 1"),
        ({"0": "a", "2": "b"}, "must number its labels from 0"),
        ({"zero": "a", "1": "b"}, "must map numbers to names"),
        (["a", "b"], "must map numbers to names"),
        ({"0": "a", "00": "b"}, "must number its labels from 0"),
    ],
)
def test_names_that_cannot_be_told_apart_are_refused(table: Any, words: str) -> None:
    """One name twice hid a class and showed another's number."""
    with pytest.raises(ModelError, match=words):
        heads.head_of({"id2label": table})


def test_the_training_rows_decide_what_pairs_of_a_zero_and_a_one_mean() -> None:
    """A file where every row has exactly one 1 was read as id lists: micro F1 66.67 instead of 100 %."""
    head = Head("multi_label", ("toxic", "spam"))
    cells = [[0, 1], [1, 0], None]
    assert settle(cells, None, head, lambda: "vectors") == [["spam"], ["toxic"], None]
    assert settle(cells, None, head, lambda: "lists") == [["toxic", "spam"], ["spam", "toxic"], None]
    assert settle(cells, None, head, lambda: None) == cells
    with pytest.raises(DataError, match="write the names of the labels"):
        text_classification.align(cells, None, head)
    assert settle([[0, 0], [0, 1]], None, head, lambda: "lists") == [[0, 0], [0, 1]]


def test_evaluation_rows_take_the_form_of_the_training_rows(tmp_path: Path) -> None:
    """Vectors in training make vectors of evaluation rows that could be both; alone they are refused."""
    head = Head("multi_label", ("toxic", "spam"))
    rows = [{"text": f"word {i}", "label": [i % 2, 1 - i % 2]} for i in range(6)]
    tiny.write_jsonl(tmp_path / "d" / "validation.jsonl", rows)
    chosen = DataConfig(source=str(tmp_path / "d"))
    with pytest.raises(DataError, match=r"can be a 0/1 vector"):
        data.evaluation(chosen, TASK, 0, head)
    tiny.write_jsonl(
        tmp_path / "d" / "train.jsonl", [{"text": "a", "label": [0, 0]}, {"text": "b", "label": [1, 1]}]
    )
    evaluation = data.evaluation(chosen, TASK, 0, head)
    assert [row["label"] for row in evaluation[:2]] == [(1,), (0,)]


def test_zero_and_one_as_floats_are_two_classes() -> None:
    """A pandas column that once held a gap writes 0.0 and 1.0 (transformers 9393)."""
    assert text_classification.infer_head([0.0, 1.0, 1.0], None) == Head("single_label", ("0", "1"))
    assert text_classification.infer_head([0.0, 1.0, 2.0], None) == Head("regression", ())
    assert text_classification.infer_head([0.5, 1.0], None) == Head("regression", ())
    two = Head("single_label", ("no", "yes"))
    assert text_classification.align([0.0, 1.0], None, two) == [0, 1]


def test_ids_that_mean_names_by_their_order_are_known_as_such() -> None:
    """Only ids without names of their own, on a head with names, or the other way round."""
    named, numbered = Head("single_label", ("no", "yes")), Head("single_label", ("LABEL_0", "LABEL_1"))
    digits = Head("single_label", ("0", "1"))
    assert heads.by_position([0, 1, None], None, named)
    assert heads.by_position(["0", "1"], None, named)
    assert heads.by_position([0, 1], ("no", "yes"), numbered)
    assert not heads.by_position(["no", "yes"], None, named)
    assert not heads.by_position([0, 1], ("no", "yes"), named)
    assert not heads.by_position([0, 1], None, digits)
    assert not heads.by_position([None], None, named)


def test_a_head_that_only_the_config_claims_is_made_by_finetune(
    text_model: Path, text_data: Path, tmp_path: Path
) -> None:
    """``architectures`` says a classifier, the weights hold none: refused, and made by ``finetune``."""
    folder = other_head(text_model, tmp_path / "claims", transformers.BertModel)
    edit_config(folder, architectures=["BertForSequenceClassification"])
    chosen = DataConfig(source=str(text_data))
    with pytest.raises(ModelError, match="it has no trained head for text-classification"):
        building.open_artifact(folder, data_config=chosen)
    artifact = building.run_stage("finetune", folder, options={"epochs": 1}, data_config=chosen)
    assert text_classification.head_of(checkpoint.read_config(artifact.path)).labels == (
        "negative",
        "positive",
    )


def test_a_teacher_without_a_trained_head_is_refused(
    text_model: Path, text_data: Path, tmp_path: Path
) -> None:
    """A sealed artifact of a base is no teacher, wherever a path names it."""
    folder = other_head(text_model, tmp_path / "base", transformers.BertModel)
    loaded = building.run(
        Recipe(model=str(folder), task="text-classification", data=DataConfig(source=str(text_data)))
    )[-1].artifact
    assert loaded.manifest.facts["head"] == "new"
    with pytest.raises(ModelError, match="no trained head"):
        checkpoint.load_teacher(loaded.path, TASK)
    assert checkpoint.load_teacher(text_model, TASK).config.num_labels == 2


def test_models_of_other_libraries_are_told_what_they_are(text_model: Path, tmp_path: Path) -> None:
    """A timm folder, and one of sentence-transformers whose encoder is not where it says."""
    timm = tmp_path / "timm"
    timm.mkdir()
    (timm / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {}}))
    (timm / "model.safetensors").write_bytes((text_model / "model.safetensors").read_bytes())
    for task in (None, "image-classification"):
        with pytest.raises(ModelError, match="is a model of timm, a library whose models paredown does not"):
            building.open_artifact(timm, task=task)
    embeddings = tmp_path / "embeddings"
    embeddings.mkdir()
    (embeddings / "modules.json").write_text(json.dumps(tiny_embedders.modules("0_Transformer")))
    with pytest.raises(ModelError, match=r"names the encoder in .*0_Transformer, where no config.json is"):
        building.open_artifact(embeddings, task="text-classification")


def test_a_new_head_is_trained_whatever_the_order(text_model: Path, tmp_path: Path) -> None:
    """Labels in another order than the old head's do not keep ``finetune`` from making a new one."""
    opened = building.open_artifact(text_model)
    manifest = opened.manifest.model_copy(
        update={"facts": {**opened.manifest.facts, "label_order": {"refusal": "the order is another"}}}
    )
    turned = Artifact(opened.path, manifest)
    with pytest.raises(ModelError, match="the order is another"):
        checkpoint.require_head(turned)
    rows = tiny.sentences(40, seed=5)
    context = Context(
        out=tmp_path,
        scratch=tmp_path,
        task=TASK,
        data=data.TrainingData(rows, rows, rows, (), None),
        seed=0,
        threads=1,
        device="cpu",
        record=lambda name, value: None,
    )
    model = checkpoint.load(opened.path, TASK)
    with pytest.raises(ModelError, match="the order is another"):
        finetune.choose_head(model, turned, finetune.Config(), context)
    head, _, inherited = finetune.choose_head(model, turned, finetune.Config(head="new"), context)
    assert (head.labels, inherited) == (("0", "1"), False)


@pytest.mark.parametrize("data_config", [None, DataConfig(source="/nowhere/rows")])
@pytest.mark.parametrize("stage", ["export-onnx", "finetune", "distill", "calibrate"])
def test_a_folder_that_is_not_there_is_said_before_its_data(
    stage: str, data_config: DataConfig | None
) -> None:
    """Verbs complained about data that nobody would need; what may be a hub id is said beside that."""
    with pytest.raises(ModelError, match=r"There is no folder \./gone: check the path"):
        building.run_stage(stage, "./gone", options={}, data_config=data_config)
    if data_config is None:
        with pytest.raises(RecipeError, match=r"needs data: .* there is no folder 'gone': it would be taken"):
            building.run_stage(stage, "gone", options={})
