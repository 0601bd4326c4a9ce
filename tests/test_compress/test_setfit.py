"""SetFit folders: the classifier is read from its safe file alone and becomes one layer of one model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import tiny
import tiny_embedders
import tiny_setfit
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier

import deploy
from compress import catalog
from compress.errors import ModelError
from compress.model import architecture, checkpoint, pretrained
from compress.model.head import replace_head
from compress.pipeline import building
from compress.tasks import Head
from compress.tasks import _setfit as setfit

TASK = catalog.task("text-classification")
TEXTS = ["the good film", "a", "the ending was very very dull and so was the story", *tiny_setfit.TEXTS[:5]]
LENGTHS = np.asarray([len(text) for text in tiny_setfit.TEXTS])


def run_printed(message: str, folder: Path) -> None:
    """Run the command that a refusal ends in, exactly as it stands there, in a shell."""
    command = message[message.index("python -c ") :]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    search = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": path, "PYTHONPATH": search})


def probabilities(folder: Path) -> np.ndarray:
    """What the folded model says of the texts, padded together."""
    model = pretrained.load(folder, TASK, None, 0).model
    head = TASK.head_of(model.config.to_dict())
    processor = TASK.load_processor(folder)
    batch = TASK.encode([{"text": text} for text in TEXTS], processor, head, processor.model_max_length)
    with torch.inference_mode():
        logits = model(**{name: torch.from_numpy(array) for name, array in batch.inputs.items()}).logits
    shares = torch.softmax(logits, -1) if head.problem == "single_label" else torch.sigmoid(logits)
    return shares.numpy()


def one_label(classes: int) -> Any:
    """A logistic regression of so many classes, which are lengths of the texts."""
    answers = np.digitize(LENGTHS, np.quantile(LENGTHS, np.arange(1, classes) / classes))
    return LogisticRegression(C=100.0, max_iter=1000), answers


def several_labels() -> np.ndarray:
    """Whether a text is long, and whether it is good: 0/1 vectors."""
    good = [row["label"] for row in tiny.sentences(60, 4)]
    return np.stack([np.median(LENGTHS) < LENGTHS, good, LENGTHS < 40], axis=1).astype(int)


HEADS: dict[str, Any] = {
    "two": lambda: one_label(2),
    "three": lambda: one_label(3),
    "one-vs-rest": lambda: (OneVsRestClassifier(LogisticRegression()), several_labels()),
    "multi-output": lambda: (MultiOutputClassifier(LogisticRegression()), several_labels()),
}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("kind", HEADS)
def test_the_printed_command_writes_what_loads(kind: str, normalize: bool, tmp_path: Path) -> None:
    """A pickle of scikit-learn is refused; after the printed command the answers are predict_proba's."""
    folder = tiny_setfit.folder(tmp_path / "it's a model", normalize=normalize, labels=None)
    head, answers = HEADS[kind]()
    head.fit(tiny_setfit.vectors(folder, tiny_setfit.TEXTS, normalize=normalize), answers)
    joblib.dump(head, folder / "model_head.pkl")
    with pytest.raises(ModelError, match=r"is the pickle model_head\.pkl, a format that") as refused:
        pretrained.inspect(folder, TASK)
    run_printed(str(refused.value), tmp_path)
    expected = head.predict_proba(tiny_setfit.vectors(folder, TEXTS, normalize=normalize))
    if kind == "multi-output":
        expected = np.stack([shares[:, 1] for shares in expected], axis=1)
    np.testing.assert_allclose(probabilities(folder), expected, atol=1e-5)


OWN_HEAD = """
import torch

class SetFitHead(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(32, 3)
        self.temperature, self.eps, self.multitarget, self.bias = 0.5, 1e-5, False, True
"""


def test_the_head_of_setfit_itself_is_folded_with_its_temperature(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SetFitHead divides its outputs by temperature + eps before the softmax."""
    (tmp_path / "own_head.py").write_text(OWN_HEAD)
    monkeypatch.syspath_prepend(str(tmp_path))
    head = __import__("own_head").SetFitHead()
    folder = tiny_setfit.folder(tmp_path / "model", labels=["a", "b", "c"])
    joblib.dump(head, folder / "model_head.pkl")
    with pytest.raises(ModelError) as refused:
        pretrained.inspect(folder, TASK)
    run_printed(str(refused.value), tmp_path)
    vectors = torch.from_numpy(tiny_setfit.vectors(folder, TEXTS, normalize=True))
    with torch.inference_mode():
        expected = torch.softmax(head.linear(vectors) / (0.5 + 1e-5), -1).numpy()
    np.testing.assert_allclose(probabilities(folder), expected, atol=1e-5)


def test_a_folder_is_taken_for_its_labels_and_says_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The task is the classifier's, labels are SetFit's, and pooling, length and head are on record."""
    folder = tiny_setfit.whole(tmp_path / "model")
    assert architecture.infer_task(folder) == "text-classification"
    with caplog.at_level("INFO"):
        opened = building.open_artifact(folder)
    assert (
        "is a SetFit folder: pooling mean, normalized; its LogisticRegression becomes a linear layer on the "
        "vector, one label a text: bad, good" in caplog.text
    )
    assert opened.manifest.facts["setfit"] == {
        "pooling": "mean",
        "normalized": True,
        "head": "LogisticRegression",
        "labels": ["bad", "good"],
    }
    assert opened.manifest.facts["head"] == "trained"
    assert opened.manifest.facts["max_length"] == 32
    content = checkpoint.read_config(opened.path)
    assert TASK.head_of(content) == Head("single_label", ("bad", "good"))
    assert content["architectures"] == ["BertModel"]
    vectors = tiny_setfit.vectors(folder, TEXTS, normalize=True)
    expected = tiny_setfit.regression(folder).predict_proba(vectors)
    assert architecture.infer_task(opened.path) == "text-classification"
    with deploy.load(opened.path) as model:
        shares = [prediction.probabilities for prediction in model.predict(TEXTS)]
    np.testing.assert_allclose(shares, expected, atol=1e-5)


def test_the_body_alone_is_an_embedder_and_its_classifier_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A pickle in the folder keeps nobody from its vectors; a classifier that is left out is said."""
    embedder = catalog.task("text-embedding")
    folder = tiny_setfit.folder(tmp_path / "model")
    (folder / "model_head.pkl").write_bytes(b"no pickle")
    without = pretrained.load(folder, embedder, None, 0).unused
    tiny_setfit.write(folder, np.ones((1, 32)), [0.0])
    unused = pretrained.load(folder, embedder, None, 0).unused
    assert set(unused) - set(without) == {"classifier.bias", "classifier.weight"}
    assert "weights that a BertForTextEmbedding does not use: classifier.bias" in caplog.text


def test_prompt_and_case_of_the_body_hold_for_its_classifier(tmp_path: Path) -> None:
    """sentence-transformers puts the default prompt before what SetFit encodes."""
    folder = tiny_setfit.whole(tmp_path / "model")
    plain = probabilities(folder)
    settings = {"prompts": {"topic": "the good "}, "default_prompt_name": "topic"}
    tiny_embedders.write(folder / "config_sentence_transformers.json", settings)
    head, vectors = tiny_setfit.regression(folder), tiny_setfit.vectors
    expected = head.predict_proba(vectors(folder, [f"the good {text}" for text in TEXTS], normalize=True))
    np.testing.assert_allclose(probabilities(folder), expected, atol=1e-5)
    assert np.abs(plain - expected).max() > 1e-3


def test_a_new_classifier_leaves_the_layers_behind_the_pooling(tmp_path: Path) -> None:
    """Other labels make a new classifier; the trained dense layer that makes the vector stays."""
    folder = tmp_path / "model"
    tiny_embedders.folder(folder, dense={"in_features": 32, "out_features": 8, "bias": True})
    tiny_embedders.write(folder / "config_setfit.json", {"labels": tiny_setfit.LABELS})
    tiny_setfit.write(folder, np.ones((1, 8)), [0.0])
    model: Any = pretrained.load(folder, TASK, None, 0).model
    dense = model.dense["0"].weight.detach().clone()
    replace_head(model, TASK, Head("single_label", ("a", "b", "c")), seed=1)
    assert torch.equal(model.dense["0"].weight, dense)
    assert model.classifier.weight.shape == (3, 8)


def test_labels_that_nobody_named_are_the_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without labels the classes are the names, which is said; texts as classes are names as they are."""
    folder = tiny_setfit.folder(tmp_path / "numbers", labels=None)
    tiny_setfit.write(folder, np.ones((1, 32)), [0.0], classes=[3, 7])
    with caplog.at_level("INFO"):
        opened = building.open_artifact(folder)
    assert TASK.head_of(checkpoint.read_config(opened.path)).labels == ("3", "7")
    assert "names no labels: they are called by the classifier's own classes" in caplog.text
    named = tiny_setfit.folder(tmp_path / "names", labels=["good", "bad"])
    tiny_setfit.write(named, np.ones((1, 32)), [0.0], classes=["bad", "good"])
    assert TASK.head_of(pretrained.inspect(named, TASK)).labels == ("bad", "good")
    turned = tiny_setfit.folder(tmp_path / "turned", labels=["1", "0"])
    tiny_setfit.write(turned, np.ones((1, 32)), [0.0], classes=[0, 1])
    assert TASK.head_of(pretrained.inspect(turned, TASK)).labels == ("1", "0")


SOFT = np.ones((3, 32))
ONE = np.ones((1, 32))
DAMAGE: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "width": (np.ones((1, 31)), [0.0], {}, "takes vectors of 31 numbers, and the body gives 32"),
    "rows": (SOFT, [0.0], {}, r"coef has the shape \[3, 32\] and intercept \[1\]"),
    "flat": (np.ones(32), [0.0], {}, r"coef has the shape \[32\]"),
    "classes": (ONE, [0.0], {"classes": [0, 1, 2]}, "has 3 classes and gives 2 outputs"),
    "labels": (SOFT, [0.0] * 3, {"classes": [0, 1, 2]}, "names 2 labels .* tells 3 apart"),
    "names": (ONE, [0.0], {"classes": ["x", "y"]}, "are x, y, which are neither these nor their numbers"),
    "numbers": (ONE, [0.0], {"classes": [1, 2]}, "are 1, 2, which are neither these nor their numbers"),
    "twice": (ONE, [0.0], {"classes": ["x", "x"]}, "the classes x, x are not all different"),
    "lists": (ONE, [0.0], {"classes": [[0], [1]]}, "a class is a name or a number"),
    "type": (ONE, [0.0], {"type": "SVC"}, "the classifier is a SVC, .* allowed are LogisticRegression"),
    "ovr": (
        SOFT,
        [0.0] * 3,
        {"settings": {"multi_class": "ovr"}},
        "multi_class=ovr, .* not those of a softmax",
    ),
    "liblinear": (SOFT, [0.0] * 3, {"settings": {"solver": "liblinear"}}, "solver=liblinear"),
    "sum": (SOFT, [0.0] * 3, {"type": "OneVsRestClassifier"}, "sigmoids that are divided by their sum"),
    "parts": (ONE, [0.0], {"type": "MultiOutputClassifier", "parts": ["SVC"]}, "is made of a SVC"),
    "more": (ONE, [0.0], {"type": "MultiOutputClassifier", "classes": [[0, 1, 2]]}, "other than two classes"),
    "field": (ONE, [0.0], {"pickle": "x"}, "pickle"),
    "nan": (
        np.full((1, 32), np.nan),
        [0.0],
        {},
        "classifier.weight holds 32 values of 64 that are no numbers",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_classifier_that_does_not_fit_is_a_sentence(name: str, tmp_path: Path) -> None:
    """What is wrong, where, and what fits: nothing is guessed and nothing of it is run."""
    coefficients, intercept, about, words = DAMAGE[name]
    folder = tiny_setfit.write(tiny_setfit.folder(tmp_path / "model"), coefficients, intercept, **about)
    with pytest.raises(ModelError, match=words) as refused:
        building.open_artifact(folder, task="text-classification")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"labels": ["a", "a"]}, "the labels a, a are not all different names"),
        ({"labels": "good"}, "labels"),
        ({"normalize_embeddings": "yes"}, "normalize_embeddings"),
        ([], "holds no JSON object"),
    ],
)
def test_settings_that_do_not_hold_together_are_a_sentence(content: Any, words: str, tmp_path: Path) -> None:
    """config_setfit.json is input as everything is."""
    folder = tiny_setfit.write(tiny_setfit.folder(tmp_path / "model"), ONE, [0.0])
    tiny_embedders.write(folder / "config_setfit.json", content)
    with pytest.raises(ModelError, match=re.escape(words)):
        pretrained.inspect(folder, TASK)


def test_a_safe_file_that_does_not_say_what_it_is_is_refused(tmp_path: Path) -> None:
    """Numbers alone do not say whether they are a softmax; other tensors are no classifier."""
    from safetensors.numpy import save_file

    folder = tiny_setfit.folder(tmp_path / "model")
    with pytest.raises(
        ModelError, match=r"without its classifier .*pickles are never downloaded.* python -c "
    ):
        pretrained.inspect(folder, TASK)
    tensors = {"coef": np.ones((1, 32), "float32"), "intercept": np.zeros(1, "float32")}
    save_file(tensors, folder / setfit.WEIGHTS)
    with pytest.raises(ModelError, match="does not say what the classifier was"):
        pretrained.inspect(folder, TASK)
    save_file({"weight": np.ones((1, 32), "float32")}, folder / setfit.WEIGHTS)
    with pytest.raises(ModelError, match="holds weight, and a classifier is coef and intercept"):
        pretrained.inspect(folder, TASK)
