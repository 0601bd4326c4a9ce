"""Text classification: heads from data and config, labels, arrays, and scores against other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import tiny

from compress.errors import DataError, ModelError
from compress.tasks import Batch, Head, Prediction
from compress.tasks import _scores as scores
from compress.tasks import text_classification as task

THREE = Head("single_label", ("a", "b", "c"))
TAGS = Head("multi_label", ("x", "y", "z"))
NUMBER = Head("regression", ())


def score(predicted: Any, actual: Any, head: Head) -> dict[str, float]:
    """The task's figures for values."""
    predictions = [Prediction(value=value, label="") for value in predicted]
    return task.metrics(task.statistics(predictions, actual, head).sum(axis=0), head)


@pytest.mark.parametrize("seed", range(4))
def test_class_scores_equal_scikit_learn(seed: int) -> None:
    """Accuracy, macro F1 and Matthews' correlation, also where a class never occurs."""
    rng = np.random.default_rng(seed)
    actual = rng.integers(0, 3 if seed else 2, 60)
    predicted = np.where(rng.random(60) < 0.6, actual, rng.integers(0, 3 if seed > 1 else 2, 60))
    figures = score(predicted, actual, THREE)
    assert list(figures) == ["accuracy", "macro_f1", "mcc"]
    assert figures["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(actual, predicted))
    assert figures["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(actual, predicted, average="macro"))
    assert figures["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(actual, predicted))


def test_class_scores_by_hand() -> None:
    """Two of three rows right over two classes: F1 2/3 and 2/3, MCC 1/2."""
    figures = score([0, 1, 1], [0, 0, 1], Head("single_label", ("a", "b")))
    assert figures == pytest.approx({"accuracy": 2 / 3, "macro_f1": 2 / 3, "mcc": 0.5})
    assert score([1, 1], [0, 0], THREE) == {"accuracy": 0, "macro_f1": 0, "mcc": 0}


@pytest.mark.parametrize("seed", range(3))
def test_set_scores_equal_scikit_learn(seed: int) -> None:
    """Micro F1, macro F1 and subset accuracy of several labels a row."""
    rng = np.random.default_rng(seed)
    actual = rng.random((40, 3)) < 0.4
    predicted = actual ^ (rng.random((40, 3)) < 0.2)
    if seed == 2:
        actual[:, 1] = predicted[:, 1] = False
    figures = score([np.flatnonzero(r) for r in predicted], [np.flatnonzero(r) for r in actual], TAGS)
    assert list(figures) == ["micro_f1", "macro_f1", "subset_accuracy"]
    for name, average in (("micro_f1", "micro"), ("macro_f1", "macro")):
        expected = sklearn.metrics.f1_score(actual, predicted, average=average, zero_division=0)
        assert figures[name] == pytest.approx(expected)
    assert figures["subset_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(actual, predicted))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_number_scores_equal_scipy(offset: float) -> None:
    """Pearson, Spearman with ties, and mean squared error, also far from zero."""
    rng = np.random.default_rng(0)
    actual = np.round(rng.normal(size=80), 1) + offset
    predicted = np.round(actual + rng.normal(size=80), 1)
    figures = score(predicted.tolist(), actual.tolist(), NUMBER)
    assert list(figures) == ["pearson", "spearman", "mse"]
    assert figures["pearson"] == pytest.approx(scipy.stats.pearsonr(predicted, actual).statistic)
    assert figures["spearman"] == pytest.approx(scipy.stats.spearmanr(predicted, actual).statistic)
    assert figures["mse"] == pytest.approx(sklearn.metrics.mean_squared_error(actual, predicted))


def test_a_constant_prediction_correlates_with_nothing() -> None:
    """A model that always says the same number scores 0, not an error and not 'not a number'."""
    figures = score([2.7] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], NUMBER)
    assert (figures["pearson"], figures["spearman"]) == (0, 0)


def test_ranks_share_their_mean() -> None:
    """Ties get the mean of their ranks."""
    assert scores.ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


@pytest.mark.parametrize(
    ("cells", "names", "head"),
    [
        ([0, 1, 1], None, Head("single_label", ("0", "1"))),
        ([3, 1, 3], None, Head("single_label", ("1", "3"))),
        ([10, 9, 2], None, Head("single_label", ("2", "9", "10"))),
        (["no", "yes", None], None, Head("single_label", ("no", "yes"))),
        ([True, False], None, Head("single_label", ("False", "True"))),
        ([0, 1], ("no", "yes", "maybe"), Head("single_label", ("no", "yes", "maybe"))),
        ([0.0, 2.5], None, NUMBER),
        ([5.0, 4.0], None, NUMBER),
        ([0.0, 1.0], ("no", "yes"), Head("single_label", ("no", "yes"))),
        (["no", "yes ", " no", "yes"], None, Head("single_label", ("no", "yes"))),
        ([["x"], [], ["z ", "y"]], None, TAGS),
        ([[0, 1, 1], [0, 0, 0]], ("x", "y", "z"), TAGS),
        ([[0, 1], [1, 1]], None, Head("multi_label", ("LABEL_0", "LABEL_1"))),
        ([[2], [0, 1]], None, Head("multi_label", ("0", "1", "2"))),
    ],
)
def test_the_head_comes_from_the_cells(cells: list[Any], names: tuple[str, ...] | None, head: Head) -> None:
    """Ids, names, floats, lists and 0/1 vectors each say which head they need."""
    assert task.infer_head(cells, names) == head


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([None, None], "no labels"),
        ([], "no labels"),
        (["yes", "no", " "], "a label among the training rows is blank"),
        ([["x"], ["y", ""]], "a label among the training rows is blank"),
        (["yes", "yes"], r"one class only \('yes'\) among 2 labels"),
        ([["x"], "x"], "some label cells are lists and some are not"),
        ([[1, 0], [1]], None),
    ],
)
def test_cells_that_ask_for_no_head(cells: list[Any], message: str | None) -> None:
    """Nothing, one class, or a mixture is refused in a sentence."""
    if message is None:
        assert task.infer_head(cells, None).problem == "multi_label"
        return
    with pytest.raises(DataError, match=message):
        task.infer_head(cells, None)


@pytest.mark.parametrize(
    ("cells", "names", "labels", "ids"),
    [
        ([0, 1], ("no", "yes"), ("yes", "no"), [1, 0]),
        (["no", "yes"], None, ("NO", "YES"), [0, 1]),
        (["no", "yes"], ("no", "yes"), ("LABEL_0", "LABEL_1"), [0, 1]),
        ([1, 0], ("no", "yes"), ("LABEL_0", "LABEL_1"), [1, 0]),
        ([1, 0], None, ("no", "yes"), [1, 0]),
        ([3, 1], None, ("1", "3"), [1, 0]),
        (["3", 1.0], None, ("1", "3"), [1, 0]),
        ([True, False], None, ("False", "True"), [1, 0]),
        ([" yes", "YES "], None, ("yes", "YES"), [0, 1]),
        ([" no"], ("yes", "no"), ("yes", "no"), [1]),
        (["Yes"], None, ("yes", "YES"), None),
        ([0], None, ("1", "3"), None),
        ([2], ("no", "yes"), ("no", "yes"), None),
        ([-1], None, ("no", "yes"), None),
        ([0.5], None, ("no", "yes"), None),
        ([["no"]], None, ("no", "yes"), None),
    ],
)
def test_cells_find_their_place_in_the_head(
    cells: list[Any], names: tuple[str, ...] | None, labels: tuple[str, ...], ids: list[int] | None
) -> None:
    """Names before positions; case does not matter where it is unique; what is unclear is refused."""
    head = Head("single_label", labels)
    if ids is None:
        with pytest.raises(DataError, match=f"row 1 has the label .*its labels are {', '.join(labels)}"):
            task.align(cells, names, head)
    else:
        assert task.align(cells, names, head) == ids


def test_zero_one_vectors_and_label_lists_are_told_apart() -> None:
    """A cell that repeats a value is a vector; equal lengths alone prove nothing."""
    two = Head("multi_label", ("x", "y"))
    assert task.align([[1, 0], [1, 1]], None, two) == [(0,), (0, 1)]
    with pytest.raises(DataError, match=r"every label is \[0, 1\] or \[1, 0\].*write the names"):
        task.align([[1, 0], [0, 1]], None, two)
    with pytest.raises(DataError, match="0/1 vector with one label on or the list of both"):
        task.infer_head([[1, 0], [0, 1]], None)
    assert task.align([["y"], ["y", "x"], []], None, two) == [(1,), (0, 1), ()]
    with pytest.raises(DataError, match="0/1 vector of length 4; there are 3 labels: x, y, z"):
        task.align([[1, 1, 0, 0]], None, TAGS)
    with pytest.raises(DataError, match="a cell must be a list of labels"):
        task.align(["x"], None, TAGS)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, Head("single_label", ("no", "yes"))),
        ({"id2label": {1: "yes", 0: "no"}, "problem_type": None}, Head("single_label", ("no", "yes"))),
        ({}, Head("single_label", ("LABEL_0", "LABEL_1"))),
        ({"num_labels": 1}, NUMBER),
        ({"id2label": {"0": "score"}}, NUMBER),
        ({"id2label": {"0": "x"}, "problem_type": "regression"}, NUMBER),
        ({"id2label": {"0": "x"}, "problem_type": "multi_label_classification"}, Head("multi_label", ("x",))),
    ],
)
def test_a_head_is_read_from_a_config(config: dict[str, Any], head: Head) -> None:
    """The problem type decides where it is written, else the number of outputs, as in transformers."""
    assert task.head_of(config) == head


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"problem_type": "ranking"}, "'ranking' in config.json is not one of single_label_classification"),
        ({"id2label": {"0": "a", "2": "b"}}, "must number its labels from 0"),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "regression"}, "regression with 2 outputs"),
        ({"id2label": {"0": "a"}, "problem_type": "single_label_classification"}, "needs at least two"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(config: dict[str, Any], message: str) -> None:
    """Each contradiction is named."""
    with pytest.raises(ModelError, match=message):
        task.head_of(config)


def test_decoding_by_hand() -> None:
    """Softmax of (0, ln 3) is (1/4, 3/4); a logit of 0 is a probability of one half, which is on."""
    batch = Batch(inputs={"input_ids": np.zeros((1, 1))}, labels=None)
    (single,) = task.decode(
        {"logits": np.array([[0, np.log(3)]])}, batch, Head("single_label", ("no", "yes"))
    )
    assert (single.value, single.label) == (1, "yes")
    assert single.probabilities == pytest.approx((0.25, 0.75))
    (several,) = task.decode({"logits": np.array([[0.0, -0.1, 5.0]])}, batch, TAGS)
    assert (several.value, several.label, several.probabilities) == ((0, 2), ("x", "z"), None)
    assert several.scores == pytest.approx((0.5, 1 / (1 + np.exp(0.1)), 1 / (1 + np.exp(-5))))
    (far,) = task.decode({"logits": np.array([[-1e4, 1e4, 0.0]])}, batch, TAGS)
    assert far.scores == (0.0, 1.0, 0.5)
    (number,) = task.decode({"logits": np.array([[2.5]], dtype=np.float16)}, batch, NUMBER)
    assert (number.value, number.label) == (2.5, 2.5)


def test_pairs_are_joined_with_token_types(tmp_path: Path) -> None:
    """A pair is one sequence with types 0 and 1; a cut takes from the longer text."""
    tiny.text_model(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    words = {word: i for i, word in enumerate(tiny.vocabulary())}
    row = {"text": "the film is good", "text_pair": "bad"}
    batch = task.encode([row], tokenizer, THREE, None)
    tokens = ["[CLS]", "the", "film", "is", "good", "[SEP]", "bad", "[SEP]"]
    assert batch.inputs["input_ids"].tolist() == [[words[word] for word in tokens]]
    assert batch.inputs["token_type_ids"].tolist() == [[0] * 6 + [1] * 2]
    assert list(batch.inputs) == ["input_ids", "attention_mask", "token_type_ids"]
    cut = task.encode([row, {"text": "bad", "text_pair": "bad"}], tokenizer, THREE, 6)
    assert cut.inputs["input_ids"].tolist()[0] == [
        words[w] for w in ["[CLS]", "the", "film", "[SEP]", "bad", "[SEP]"]
    ]
    assert cut.truncated.tolist() == [True, False]


def test_a_tokenizer_offers_only_what_the_model_takes(tmp_path: Path) -> None:
    """A BERT tokenizer beside a DistilBERT config gives no token types, in arrays and export alike."""
    import transformers

    tiny.save_tokenizer(tmp_path)
    transformers.DistilBertConfig(dim=16, n_layers=1, n_heads=2, hidden_dim=16).save_pretrained(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    assert list(task.encode([{"text": "good"}], tokenizer, THREE, None).inputs) == [
        "input_ids",
        "attention_mask",
    ]
    assert list(task.export_spec({}, tokenizer, THREE).inputs) == ["input_ids", "attention_mask"]


def test_a_tokenizer_of_characters_has_no_vocabulary_to_keep(tmp_path: Path) -> None:
    """CANINE's class is the whole tokenizer: its folder holds settings alone."""
    import transformers

    transformers.CanineTokenizer(model_max_length=16).save_pretrained(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    ids = task.encode([{"text": "ab"}], tokenizer, THREE, None).inputs["input_ids"]
    assert ids.tolist() == [[0xE000, ord("a"), ord("b"), 0xE001]]
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(settings | {"tokenizer_class": "BertTokenizer"})
    )
    with pytest.raises(ModelError, match="has no tokenizer"):
        task.load_processor(tmp_path)


def test_tokenizers_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    """A damaged file and a missing padding token each get a sentence."""
    tiny.text_model(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["pad_token"] = None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="has no padding token"):
        task.load_processor(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json: this is not valid JSON"):
        task.load_processor(tmp_path)


def test_a_tokenizer_that_gives_up_on_a_row_is_said(tmp_path: Path) -> None:
    """A pattern that splits texts may take an age on one of them; its library ends it with a panic."""
    tiny.save_tokenizer(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    pattern = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    file.write_text(json.dumps({**content, "pre_tokenizer": pattern}))
    processor = task.load_processor(tmp_path)
    rows = [{"text": "a good film"}, {"text": "a" * 60 + "!"}]
    assert task.encode(rows[:1], processor, THREE, 16, labelled=False).inputs["input_ids"].shape[0] == 1
    with pytest.raises(ModelError, match=r"the tokenizer gives up on a row .*takes too long on it"):
        task.encode(rows, processor, THREE, 16, labelled=False)
    with pytest.raises(ModelError, match="the tokenizer gives up on a row"):
        task.lengths(rows, processor)


def test_a_text_model_from_a_config_alone_has_no_tokenizer() -> None:
    """A tokenizer is not made up; the sentence says what to give."""
    import transformers

    with pytest.raises(ModelError, match=r"\(bert\) has no tokenizer"):
        task.default_processor(transformers.BertConfig())


def test_the_real_classifier_gets_its_arrays(shared: Path) -> None:
    """The tokenizer of minilm-sst2 gives the ids of BERT's vocabulary, truncated as counted."""
    tokenizer = task.load_processor(shared / "models/minilm-sst2")
    rows = [{"text": "Hello world!"}, {"text": "word " * 100}]
    batch = task.encode(rows, tokenizer, THREE, 16)
    assert batch.inputs["input_ids"][0, :6].tolist() == [101, 7592, 2088, 999, 102, 0]
    assert batch.inputs["input_ids"].shape == (2, 16)
    assert batch.truncated.tolist() == [False, True]
    assert task.lengths(rows, tokenizer).tolist() == [5, 102]
