"""Answers that are parts of texts: windows, best spans, no answer, and the scores of SQuAD."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_questions
import torch

from compress import catalog
from compress.errors import DataError, ModelError
from compress.tasks import Head, Pieces, Prediction, Task
from compress.tasks import _answer_texts as answer_texts
from compress.tasks import _thresholds as thresholds
from compress.tasks import _windows as windows
from compress.tasks.question_answering import spans
from studies import question_answering

SPAN = Head("span", ())
MAY_BE_EMPTY = Head("span", (), thresholds=(0.0,))


@pytest.fixture
def task() -> Task:
    """The task."""
    return catalog.task("question-answering")


@pytest.fixture
def tokenizer(task: Task, tmp_path: Path) -> Any:
    """The tiny tokenizer: one token a word, [CLS] question [SEP] context [SEP]."""
    tiny.save_tokenizer(tmp_path)
    return task.load_processor(tmp_path)


@pytest.mark.parametrize(
    ("answer", "references", "f1", "exact"),
    [
        ("The Cat!", ["a cat"], 1.0, 1.0),
        ("in the big house", ["big house", "house"], 0.8, 0.0),  # 2 of 3 and 2: 2*2/5, not 2*1/4
        ("10,000", ["10000"], 1.0, 1.0),
        ("don't", ["dont"], 1.0, 1.0),
        ("red red blue", ["red blue blue"], 2 / 3, 0.0),  # a word counts as often as both have it
        ("cat", [], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("", ["cat"], 0.0, 0.0),
        ("the", [], 1.0, 1.0),  # an article alone is no word, as in the official scorer
        ("cat", ["the", "cat"], 1.0, 1.0),
        ("“cat”", ["cat"], 0.0, 0.0),  # the official scorer knows ASCII punctuation only
        ("北京大学", ["北京"], 2 * 2 / 6, 0.0),
        ("《北京》。", ["北京"], 1.0, 1.0),
        ("1998年5月", ["1998年"], 2 * 2 / 6, 0.0),  # 1998 | 年 | 5 | 月
    ],
)
def test_answers_are_scored_as_the_official_script_does(
    answer: str, references: list[str], f1: float, exact: float
) -> None:
    """Lower case, no ASCII punctuation, no articles; the best of the references; Chinese by characters."""
    assert answer_texts.score(answer, references) == (pytest.approx(f1), exact)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ({"text": ["a b"], "answer_start": [3]}, (("a b", 3),)),
        ({"text": [], "answer_start": []}, ()),
        ('{"text": ["x", "y"], "answer_start": [0, -1]}', (("x", 0), ("y", -1))),
        ({"text": "x", "answer_start": "4"}, (("x", 4),)),
        ([{"text": "x", "answer_start": 4}], (("x", 4),)),
        ([], ()),
        ({"text": ["x"], "answer_start": []}, None),
        ({"text": ["x"], "answer_start": [1.5]}, None),
        ({"text": ["x"], "answer_start": [-2]}, None),
        ({"text": [" "], "answer_start": [0]}, None),
        ("x", None),
        (3, None),
        ("{broken", None),
    ],
)
def test_the_forms_of_answers(cell: Any, expected: Any) -> None:
    """Objects, lists of objects, and JSON of both; texts and places in like number."""
    assert answer_texts.spans(cell) == expected


def test_windows_are_those_of_transformers(tokenizer: Any, task: Task) -> None:
    """The question before each, the tokenizer's own overflow, every token of the context at its place."""
    rows = tiny_questions.questions(6, 3, long=150)
    pieces = task.pieces(rows, tokenizer, 40)
    expected = tokenizer(
        [row["question"] for row in rows],
        [row["context"] for row in rows],
        truncation="only_second",
        max_length=40,
        stride=20,  # half of the limit, as the pipeline of transformers does it
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert pieces.owner.tolist() == expected["overflow_to_sample_mapping"]
    assert len(pieces.rows) > len(rows)
    batch = task.encode(pieces.rows, tokenizer, SPAN, 40, labelled=False)
    assert batch.truncated is not None
    assert not batch.truncated.any()
    for i, ids in enumerate(expected["input_ids"]):
        assert batch.inputs["input_ids"][i, : len(ids)].tolist() == ids
        assert (batch.inputs["attention_mask"][i].sum()) == len(ids)
        places = [
            pair if side == 1 else (-1, -1)
            for pair, side in zip(expected["offset_mapping"][i], expected.sequence_ids(i), strict=True)
        ]
        assert batch.extras["offsets"][i, : len(ids)].tolist() == [list(pair) for pair in places]
    tokens: list[set[int]] = [set() for _ in rows]
    for owner, row in zip(pieces.owner, pieces.rows, strict=True):
        tokens[owner] |= set(row["window"].offsets[:, 0].tolist()) - {-1}
    assert [len(places) for places in tokens] == [len(row["context"].split()) for row in rows]


def test_answers_are_those_of_transformers(tmp_path: Path) -> None:
    """Spans and probabilities of a random model are what transformers' own functions make of its outputs."""
    folder = tiny_questions.model(tmp_path / "model")
    rows = tiny_questions.questions(12, 7, long=120)
    outcome = question_answering.compare(folder, rows, 40)
    assert outcome["equal"] == outcome["rows"] == 12
    assert outcome["windows"] > 24
    assert outcome["largest_difference"] < 1e-6


def test_a_question_that_leaves_no_room_is_cut_and_said(tokenizer: Any, task: Task) -> None:
    """Where less than a quarter of the limit is left, one window remains, cut from its longer text."""
    row = {"question": "the good " * 20, "context": "a bad film " * 20}
    pieces = task.pieces([row], tokenizer, 16)
    batch = task.encode(pieces.rows, tokenizer, SPAN, 16, labelled=False)
    assert batch.inputs["input_ids"].shape == (1, 16)
    assert batch.truncated is not None
    assert batch.truncated.tolist() == [True]
    assert task.lengths([row], tokenizer).tolist() == task.lengths(pieces.rows, tokenizer).tolist() == [103]


def test_windows_beyond_memory_are_refused(
    tokenizer: Any, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cap is said."""
    monkeypatch.setattr(windows, "MOST_TOKENS", 100)
    with pytest.raises(DataError, match="100 are held in memory at most: give fewer rows"):
        task.pieces(tiny_questions.questions(9, 3, long=150), tokenizer, 40)


def test_labels_of_windows(tokenizer: Any, task: Task) -> None:
    """The tokens of the answer where a window has all of it, else [CLS]; -100: nothing to learn."""
    context = "the good warm film"  # [CLS] a [SEP] the good warm film [SEP]
    cells = [
        (("good warm", 4),),
        (),
        (("good warm", -1),),
        (("nothing", -1), ("film", 14)),
        (("ood wa", 5),),  # begins and ends inside words: their tokens
    ]
    rows = [{"question": "a", "context": context, "answers": cell} for cell in cells]
    batch = task.encode(rows, tokenizer, SPAN, None)
    assert batch.labels is not None
    assert batch.labels.tolist() == [[4, 5], [0, 0], [-100, -100], [6, 6], [4, 5]]
    counts = task.positions(batch)
    assert counts is not None
    assert counts[0].tolist() == [True, False, False, True, True, True, True, False]
    cut = task.pieces(rows[:1], tokenizer, 6).rows  # 2 tokens of context a window, one shared
    labels = task.encode(cut, tokenizer, SPAN, 6).labels
    assert labels is not None
    assert labels.tolist() == [[0, 0], [3, 4], [0, 0]]


def planted(length: int, logits: dict[int, float]) -> np.ndarray:
    """Outputs of one window: these numbers at these positions, -20 elsewhere."""
    row = np.full((1, length), -20.0, dtype=np.float32)
    for position, value in logits.items():
        row[0, position] = value
    return row


def test_the_best_span_and_its_probability(tokenizer: Any, task: Task) -> None:
    """First before last, within the context; by hand: softmax over context and [CLS] of either end."""
    rows = [{"question": "a", "context": "the good warm film"}]
    batch = task.encode(rows, tokenizer, SPAN, None, labelled=False)
    outputs = {
        "start_logits": planted(8, {0: 0.0, 1: 50.0, 4: 1.0, 6: 2.0}),  # 1 is the question: does not count
        "end_logits": planted(8, {0: 0.0, 5: 3.0, 6: 0.0, 7: 50.0}),
    }
    (prediction,) = task.decode(outputs, batch, SPAN)
    start_total = 1 + math.exp(1) + math.exp(2) + 2 * math.exp(-20)
    end_total = 1 + math.exp(3) + 1 + 2 * math.exp(-20)
    # (4, 5): e^1 e^3; (6, 6): e^2 e^0; (6, 5) is none.
    assert prediction.value == prediction.label == "good warm"
    assert prediction.span == (4, 13)
    assert prediction.score == pytest.approx(math.exp(4) / (start_total * end_total))
    assert prediction.empty == pytest.approx(1 / (start_total * end_total))


def test_an_answer_has_thirty_tokens_at_most() -> None:
    """A likelier end that is further away is no end."""
    starts, ends = np.zeros((1, 60)), np.zeros((1, 60))
    starts[0, 5], ends[0, 34], ends[0, 35] = 1.0, 0.1, 0.9
    places, likely = spans(starts, ends, np.ones((1, 60), dtype=bool))
    assert places.tolist() == [[5, 34]]
    assert likely.tolist() == [pytest.approx(0.1)]


def window(text: str, score: float, empty: float) -> Prediction:
    """What a window says."""
    return Prediction(text, text, score=score, span=(0, len(text)), empty=empty)


def test_windows_are_joined_by_the_best_of_them(task: Task) -> None:
    """The likeliest part; no answer where even the window that is surest of one says so."""
    predictions = [window("a", 0.2, 0.7), window("b", 0.4, 0.5), window("c", 0.3, 0.1)]
    pieces = Pieces([{}, {}, {}], np.array([0, 0, 1]))
    always = task.joined(predictions, pieces, SPAN)
    assert [prediction.value for prediction in always] == ["b", "c"]
    assert [prediction.empty for prediction in always] == [0.5, 0.1]
    assert [p.value for p in task.joined(predictions, pieces, MAY_BE_EMPTY)] == ["", "c"]  # 0.5 > 0.4
    lenient = Head("span", (), thresholds=(0.3,))
    assert [p.value for p in task.joined(predictions, pieces, lenient)] == ["b", "c"]  # ln(0.5 / 0.4) = 0.22


def test_the_threshold_of_no_answer_is_fitted(task: Task) -> None:
    """By hand: margins -1, 0.5, 1, 2; only the last two rows have no answer, so it lies at 0.75."""
    predictions = [window("x", 0.4, 0.4 * math.exp(m)) for m in (-1.0, 0.5, 1.0, 2.0)]
    references: list[tuple[str, ...]] = [("x",), ("x",), (), ()]
    assert task.fitted(predictions, references, SPAN) == (pytest.approx(0.75),)
    with pytest.raises(DataError, match="both kinds are needed"):
        task.fitted(predictions[:2], references[:2], SPAN)


def test_thresholds_travel_in_the_configuration() -> None:
    """What is written is read; damage is a sentence; heads of other thresholds compare as equal."""
    config: Any = type("Config", (), {})()
    thresholds.write(config, MAY_BE_EMPTY)
    assert config.decision_thresholds == [0.0]
    thresholds.write(config, SPAN)
    assert not hasattr(config, "decision_thresholds")
    assert MAY_BE_EMPTY == SPAN
    for damage in ("0", [1, 2], [float("nan")], [True]):
        with pytest.raises(ModelError, match=r"decision_thresholds in config\.json is"):
            thresholds.read({"decision_thresholds": damage}, 1)


def test_thresholds_of_several_labels_are_fitted_together() -> None:
    """By hand: label 0 is true from 0.3 on, label 1 from 0.8 on; under 0.5 one is missed and one wrong."""
    task = catalog.task("text-classification")
    head = Head("multi_label", ("x", "y"))
    shares = [(0.9, 0.9), (0.3, 0.6), (0.2, 0.8), (0.1, 0.1)]
    predictions = [Prediction(value=(), label=(), scores=row) for row in shares]
    references = [(0, 1), (0,), (1,), ()]
    bounds = task.fitted(predictions, references, head)
    assert bounds == (pytest.approx(0.25), pytest.approx(0.7))
    fitted = Head("multi_label", ("x", "y"), thresholds=bounds)
    assert [prediction.value for prediction in task.decided(predictions, fitted)] == references
    assert [prediction.value for prediction in task.decided(predictions, head)] == [(0, 1), (1,), (1,), ()]
    with pytest.raises(DataError, match="this model gives one answer"):
        task.fitted(predictions, references, Head("single_label", ("x", "y")))


def test_the_loss_is_over_the_positions_that_count(tokenizer: Any, task: Task) -> None:
    """By hand: cross entropy over context and [CLS]; windows that teach nothing are left out."""
    rows = [
        {"question": "a", "context": "the good warm film", "answers": (("good warm", 4),)},
        {"question": "a", "context": "the good warm film", "answers": (("x", -1),)},
    ]
    batch = task.encode(rows, tokenizer, SPAN, None)
    outputs = {name: torch.zeros(2, 8) for name in task.OUTPUTS}
    outputs["start_logits"][0, 1] = 9.0  # a token of the question
    labels = torch.from_numpy(batch.labels)
    assert task.loss(outputs, labels, SPAN, batch).item() == pytest.approx(math.log(5))


def test_scores_of_rows_with_and_without_answers(task: Task) -> None:
    """F1, exact match and both kinds of rows by themselves; blind: answering nothing."""
    predictions = [window(text, 0.5, 0.1) for text in ("big cat", "cat", "", "dog")]
    references = [("cat",), ("cat", "dog"), (), ()]
    totals = task.statistics(predictions, references, MAY_BE_EMPTY).sum(axis=0)
    assert task.metrics(totals, MAY_BE_EMPTY) == {
        "f1": pytest.approx((2 / 3 + 1 + 1 + 0) / 4),
        "exact_match": 0.5,
        "answered_f1": pytest.approx((2 / 3 + 1) / 2),
        "answered_exact_match": 0.5,
        "unanswerable_accuracy": 0.5,
    }
    assert set(task.metrics(totals, SPAN)) == {"f1", "exact_match"}
    assert task.blind(totals, SPAN) == 0.5
    right = [task.right(p, r) for p, r in zip(predictions, references, strict=True)]
    assert right == [False, True, True, False]


def test_the_head_is_what_the_rows_ask_for(task: Task) -> None:
    """It may answer nothing where some row has no answer; what is no answer is named by its row."""
    placed, empty = {"text": ["a"], "answer_start": [0]}, {"text": [], "answer_start": []}
    assert task.infer_head([placed, placed], None).thresholds is None
    assert task.infer_head([placed, empty], None).thresholds == (0.0,)
    with pytest.raises(DataError, match="no training row has an answer"):
        task.infer_head([empty], None)
    with pytest.raises(DataError, match="row 2 has the answers 3"):
        task.align([placed, 3], None, SPAN)


def test_a_tokenizer_without_places_is_refused(task: Task, tmp_path: Path) -> None:
    """The sentence says what is missing."""
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CanineTokenizer"}')
    with pytest.raises(ModelError, match="cannot say where in the text a token stands"):
        task.load_processor(tmp_path)
