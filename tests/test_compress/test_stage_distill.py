"""The distill stage end to end on a tiny classifier: which student, what is recorded, what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
import transformers

from compress.artifacts.artifact import Artifact
from compress.artifacts.store import Store
from compress.errors import DataError, ModelError, RecipeError
from compress.model import checkpoint
from compress.pipeline import building
from compress.recipe import DataConfig, Named, Recipe, validate
from compress.stages import distill
from compress.tasks import text_classification as task

_FAST: dict[str, Any] = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "precision": "fp32"}


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A tiny teacher of four layers with something to say, its data, and a store."""
    root = tmp_path_factory.mktemp("distill")
    data = DataConfig(source=str(tiny.text_data(root / "data", train=160)), calibration=32)
    folder = tiny.text_model(root / "model", layers=4)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    model.classifier.weight.data *= 8
    model.save_pretrained(folder)
    store = Store(root / "store")
    loaded = building.open_artifact(folder, data_config=data, store=store)
    return SimpleNamespace(root=root, data=data, store=store, folder=folder, loaded=loaded)


def run(subject: SimpleNamespace, *, data: bool = True, **options: Any) -> Artifact:
    """The stage on the tiny teacher."""
    return building.run_stage(
        "distill",
        subject.loaded.path,
        options={**_FAST, **options},
        data_config=subject.data if data else None,
        store=subject.store,
        threads=1,
    )


def layers_of(artifact: Artifact) -> int:
    """How many layers the config counts."""
    return int(checkpoint.read_config(artifact.path)["num_hidden_layers"])


def test_the_best_subset_is_found_and_trained(subject: SimpleNamespace) -> None:
    """All six pairs of four layers are tried; the nearest is kept, and loads with plain from_pretrained."""
    artifact = run(subject, layers=2)
    facts = artifact.manifest.facts
    tried = facts["tried"]
    assert sorted(tuple(entry["layers"]) for entry in tried) == [
        (0, 1),
        (0, 2),
        (0, 3),
        (1, 2),
        (1, 3),
        (2, 3),
    ]
    assert [entry["kl"] for entry in tried] == sorted(entry["kl"] for entry in tried)
    assert facts["layers"] == [layer + 1 for layer in tried[0]["layers"]]
    assert facts["training"]["evaluations"]
    assert layers_of(artifact) == 2
    assert checkpoint.SHAPES not in artifact.manifest.files
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(artifact.path)
    ours = checkpoint.load(artifact.path, task)
    assert all(torch.equal(plain.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())
    assert checkpoint.read_max_length(artifact.path) == checkpoint.read_max_length(subject.loaded.path)


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"layers": 2, "rule": "every-other"}, [2, 4]),
        ({"layers": 2, "rule": "drop-top"}, [1, 2]),
        ({"layers": (0, 3)}, [1, 4]),
        ({"rule": "every-other"}, [2, 4]),
    ],
)
def test_rules_name_the_layers(subject: SimpleNamespace, options: dict[str, Any], layers: list[int]) -> None:
    """A named rule or an explicit choice decides; half of the layers stay where nothing is said."""
    artifact = run(subject, **options, steps=1)
    assert artifact.manifest.facts["layers"] == layers
    assert layers_of(artifact) == 2


def test_block_influence_is_recorded(subject: SimpleNamespace) -> None:
    """The layers that turn the hidden states most are kept."""
    artifact = run(subject, layers=2, rule="block-influence", steps=1)
    influence = artifact.manifest.facts["block_influence"]
    assert len(influence) == 4
    strongest = sorted(sorted(range(4), key=lambda i: -influence[i])[:2])
    assert artifact.manifest.facts["layers"] == [layer + 1 for layer in strongest]


def test_the_control_says_what_distillation_gave(subject: SimpleNamespace) -> None:
    """The same student without the teacher: as many steps, and the difference of the main metric."""
    artifact = run(subject, layers=2, control=True)
    control = artifact.manifest.facts["control"]
    history = artifact.manifest.facts["training"]
    assert control["metric"] == "accuracy"
    assert control["steps"] == history["steps"]
    best = next(e for e in history["evaluations"] if e["step"] == history["best_step"])
    assert control["distilled"] == best["metrics"]
    assert control["gain"] == pytest.approx(control["distilled"]["accuracy"] - control["control"]["accuracy"])
    assert artifact.id == run(subject, layers=2).id  # the control changes nothing in the student


def test_the_same_seed_gives_the_same_bytes(subject: SimpleNamespace, tmp_path: Path) -> None:
    """On a CPU with fixed threads two runs in two stores give one content id."""
    first = run(subject, layers=2)
    apart = SimpleNamespace(**{**vars(subject), "store": Store(tmp_path)})
    assert run(apart, layers=2).id == first.id


def test_a_given_student_is_trained(subject: SimpleNamespace, tmp_path: Path) -> None:
    """A narrower model is held to relations and keeps its own configuration."""
    student = tiny.text_model(tmp_path / "narrow", layers=2, hidden=16, heads=2, ffn=32, seed=4)
    artifact = run(subject, student=str(student))
    config = checkpoint.read_config(artifact.path)
    assert (config["hidden_size"], config["num_hidden_layers"]) == (16, 2)
    assert artifact.manifest.facts["layer_map"] == [2, 4]
    assert "layers" not in artifact.manifest.facts
    before = transformers.AutoModelForSequenceClassification.from_pretrained(student).state_dict()
    after = checkpoint.load(artifact.path, task).state_dict()
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])
    assert distill.reads(distill.Config(student=student, teacher=str(tmp_path))) == (student, tmp_path)


def test_a_student_without_a_list_of_layers_learns_from_answers_alone(
    subject: SimpleNamespace, tmp_path: Path
) -> None:
    """ALBERT shares one layer: it is told what to leave out, and is trained when that is left out."""
    student = tmp_path / "student"
    config = transformers.AlbertConfig(
        vocab_size=len(tiny.vocabulary()),
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=checkpoint.read_config(subject.folder)["max_position_embeddings"],
    )
    transformers.AlbertModel(config).save_pretrained(student)
    tiny.save_tokenizer(student)
    with pytest.raises(ModelError, match=r"share or split their layers.*'hidden_weight: 0'"):
        run(subject, student=student, steps=1)
    artifact = run(subject, student=student, steps=1, hidden_weight=0, relation_weight=0)
    assert "layer_map" not in artifact.manifest.facts
    assert checkpoint.read_config(artifact.path)["model_type"] == "albert"
    ours = checkpoint.load(artifact.path, task)
    assert task.head_of(ours.config.to_dict()) == task.head_of(checkpoint.read_config(subject.loaded.path))


def test_a_base_student_gets_the_teachers_head(subject: SimpleNamespace, tmp_path: Path) -> None:
    """An encoder without a head learns the teacher's labels."""
    folder = tmp_path / "base"
    source = tiny.text_model(tmp_path / "narrow", layers=1, hidden=16, heads=2, ffn=32)
    transformers.AutoModel.from_pretrained(source).save_pretrained(folder)
    tiny.save_tokenizer(folder)
    artifact = run(subject, student=str(folder), steps=2)
    assert checkpoint.read_config(artifact.path)["id2label"] == {"0": "negative", "1": "positive"}


def test_a_student_of_other_labels_is_refused(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Labels must be the teacher's, in its order."""
    folder = tiny.text_model(tmp_path / "other", layers=1)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.id2label = {0: "positive", 1: "negative"}
    config.label2id = {"positive": 0, "negative": 1}
    config.save_pretrained(folder)
    with pytest.raises(
        ModelError, match=r"student at .* predicts .*'positive', 'negative'.* and the teacher"
    ):
        run(subject, student=str(folder))


def test_a_student_that_reads_rows_differently_is_refused(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Another tokenizer gives other inputs, so that tokens cannot be compared."""
    folder = tiny.text_model(tmp_path / "other", layers=1)
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace('"good"', '"goood"'))
    with pytest.raises(ModelError, match="turn the same rows into different inputs"):
        run(subject, student=str(folder))


def test_the_original_can_teach_a_later_student(subject: SimpleNamespace) -> None:
    """In a chain of two cuts, ``teacher: original`` is the model that the run began with."""
    recipe = Recipe(
        model=str(subject.folder),
        data=subject.data,
        threads=1,
        stages=(
            Named(name="distill", options={**_FAST, "layers": 3, "steps": 1}),
            Named(name="distill", options={**_FAST, "layers": 2, "steps": 1, "teacher": "original"}),
            Named(name="distill", options={**_FAST, "layers": 2, "steps": 1, "teacher": "source"}),
        ),
    )
    with pytest.raises(RecipeError, match="a student of 2 layers was asked for and the teacher has 2"):
        building.run(recipe, subject.store)
    first = building.run(recipe.model_copy(update={"stages": recipe.stages[:2]}), subject.store)
    tried = first[-1].artifact.manifest.facts["tried"]
    assert len(tried) == 6  # pairs of the original's four layers, not of the source's three


def test_a_teacher_of_a_folder(subject: SimpleNamespace) -> None:
    """Any model folder of the task may teach; one that is not there is refused."""
    artifact = run(subject, layers=2, steps=1, teacher=str(subject.loaded.path))
    assert layers_of(artifact) == 2
    with pytest.raises(RecipeError, match="there is no teacher at /nowhere"):
        run(subject, layers=2, teacher="/nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 4}, "allowed are 1 to 3"),
        ({"layers": 0}, r"layers: .* greater than or equal to 1 or .* a list \(found 0\)"),
        ({"layers": (0, 9)}, "rising numbers from 0 to 3"),
        ({"student": "/nowhere"}, "there is no student at /nowhere"),
    ],
)
def test_impossible_students_are_refused(
    subject: SimpleNamespace, options: dict[str, Any], message: str
) -> None:
    """Each is one sentence with what is allowed."""
    with pytest.raises(RecipeError, match=message):
        run(subject, **options)


def test_options_are_checked() -> None:
    """Two students at once, a wrong rule and an unknown key are refused before anything runs."""
    with pytest.raises(RecipeError, match=r"either layers .* or student"):
        validate(distill.Config, {"layers": 2, "student": "x"}, "distill")
    with pytest.raises(RecipeError, match="rule"):
        validate(distill.Config, {"rule": "random"}, "distill")
    with pytest.raises(RecipeError, match="unknown key 'alpha'"):
        validate(distill.Config, {"alpha": 1}, "distill")


def test_data_is_needed(subject: SimpleNamespace) -> None:
    """Without rows there is nothing to compare on."""
    with pytest.raises((DataError, RecipeError)):
        building.run_stage("distill", subject.folder, options={}, store=subject.store, threads=1)
