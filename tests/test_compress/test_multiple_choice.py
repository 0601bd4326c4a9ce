"""One of several texts: the same logits as transformers' own classes, its loss, cells of public data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_choices
import torch
import transformers

from compress import catalog, data
from compress.errors import DataError, ModelError
from compress.model import architecture, checkpoint, pretrained
from compress.recipe import DataConfig
from compress.tasks import Pieces, Prediction
from compress.tasks import _choices as choices

NAME = "multiple-choice"
TASK = catalog.task(NAME)
HEAD = TASK.head_of({})
ROWS = tiny_choices.questions(12, 3)


def theirs(folder: Path, rows: list[dict[str, Any]], family: str = "Bert") -> list[np.ndarray]:
    """The logits of each row alone, as transformers' own examples compute them."""
    network = getattr(transformers, f"{family}ForMultipleChoice").from_pretrained(folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    results = []
    for row in rows:
        count = len(row["choices"])
        if "context" in row:
            firsts = [row["context"]] * count
            seconds = [f"{row['question']} {choice}" for choice in row["choices"]]
        else:
            firsts, seconds = [row["question"]] * count, list(row["choices"])
        encoded = tokenizer(firsts, seconds, padding=True, return_tensors="pt")
        with torch.no_grad():
            outputs = network(**{name: tensor[None] for name, tensor in encoded.items()})
        results.append(outputs.logits[0].numpy())
    return results


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.mark.parametrize("family", tiny_choices.FAMILIES)
@pytest.mark.parametrize("context", [False, True])
def test_each_choice_by_itself_gets_transformers_own_logit(
    family: str, context: bool, tmp_path: Path
) -> None:
    """Pieces of rows of different numbers of choices in one batch, and whole rows, to float noise."""
    folder = tiny_choices.model(tmp_path, family)
    rows = tiny_choices.questions(12, 3, context=context)
    expected = theirs(folder, rows, family)
    network = pretrained.load(folder, TASK, None, 0).model
    processor = TASK.load_processor(folder)
    pieces = TASK.pieces(rows, processor, None)
    assert pieces.owner.tolist() == [i for i, row in enumerate(rows) for _ in row["choices"]]
    batch = TASK.encode(pieces.rows, processor, HEAD, None)
    with torch.no_grad():
        logits = network(**tensors(batch.inputs)).logits.numpy()
    assert logits.shape == (len(pieces.rows), 1)
    np.testing.assert_allclose(logits[:, 0], np.concatenate(expected), atol=1e-5)
    rows_batch = TASK.encode(rows, processor, HEAD, None)
    with torch.no_grad():
        logits = network(**tensors(rows_batch.inputs)).logits.numpy()
    for row, numbers in zip(logits, expected, strict=True):
        np.testing.assert_allclose(row[: len(numbers)], numbers, atol=1e-5)
    answers = TASK.joined(
        TASK.decode({"logits": np.concatenate(expected)[:, None]}, batch, HEAD), pieces, HEAD
    )
    for answer, row, numbers in zip(answers, rows, expected, strict=True):
        assert answer.value == row["choices"][int(numbers.argmax())]
        assert answer.candidates is not None
        shares = np.exp(numbers) / np.exp(numbers).sum()
        assert dict(answer.candidates[0])[answer.value] == pytest.approx(shares.max())


def test_the_loss_is_that_of_the_model(tmp_path: Path) -> None:
    """The mean cross entropy over the rows' own choices, whatever stands beside them in the batch."""
    folder = tiny_choices.model(tmp_path)
    network = pretrained.load(folder, TASK, None, 0).model
    processor = TASK.load_processor(folder)
    batch = TASK.encode(ROWS, processor, HEAD, None)
    labels = torch.from_numpy(batch.labels)
    outputs = network(**tensors(batch.inputs))
    mine = TASK.loss(outputs, labels, HEAD, batch)
    expected = [
        torch.nn.functional.cross_entropy(torch.from_numpy(numbers)[None], torch.tensor([row["label"]]))
        for numbers, row in zip(theirs(folder, ROWS), ROWS, strict=True)
    ]
    assert mine.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    mine.backward()
    assert network.classifier.weight.grad.abs().sum() > 0


def test_others_load_what_is_saved(tmp_path: Path) -> None:
    """The class stands in config.json under transformers' own name, and the weights are theirs."""
    folder = tiny_choices.model(tmp_path / "model")
    network = pretrained.load(folder, TASK, None, 0).model
    (tmp_path / "out").mkdir()
    checkpoint.save(network, tmp_path / "out", source=folder)
    for before, after in zip(theirs(folder, ROWS), theirs(tmp_path / "out", ROWS), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-6)
    content = checkpoint.read_config(tmp_path / "out")
    assert content["architectures"] == ["BertForMultipleChoice"]


def test_scores_by_hand() -> None:
    """One of two rows right; a guess among two and four choices gets 3/8."""
    first = Prediction("b", "b", candidates=((("b", 0.7), ("a", 0.3)),))
    second = Prediction("c", "c", candidates=((("c", 0.4), ("a", 0.3), ("b", 0.2), ("d", 0.1)),))
    table = TASK.statistics([first, second], [("b",), ("d",)], HEAD)
    assert table.tolist() == [[1, 0.5, 1], [0, 0.25, 1]]
    assert TASK.metrics(table.sum(axis=0), HEAD) == {"accuracy": 0.5}
    assert TASK.blind(table.sum(axis=0), HEAD) == 0.375
    assert [TASK.right(first, ("b",)), TASK.right(second, ("d",))] == [True, False]


def test_a_tie_goes_to_the_first_choice_and_numbers_are_finite() -> None:
    """Equal logits answer with the first; a NaN is refused with its row."""
    rows = [{"question": "a", "choices": ("film",)}, {"question": "a", "choices": ("story",)}]
    pieces = Pieces(rows, np.zeros(2, dtype=np.int64))
    batch: Any = None
    (answer,) = TASK.joined(TASK.decode({"logits": np.zeros((2, 1))}, batch, HEAD), pieces, HEAD)
    assert answer.value == "film"
    with pytest.raises(ModelError, match="row 2 of the batch is not a finite number"):
        TASK.decode({"logits": np.array([[0.0], [np.nan]])}, batch, HEAD)


@pytest.mark.parametrize(
    ("label", "cell", "number"),
    [
        (2, ["a", "b", "c"], 2),
        ("2", ["a", "b", "c"], 2),  # HellaSwag
        ("C", ["a", "b", "c"], 2),  # RACE
        ("b", ["a", "b", "c"], 1),
        ("12", ["12", "15"], 0),  # a choice's text before its number
        ("B", {"text": ["x", "y"], "label": ["B", "A"]}, 0),  # ARC: a key before a letter
        ("1", {"text": ["x", "y"], "label": ["1", "2"]}, 0),
        (1.0, '["a", "b"]', 1),
        (3, ["a", "b", "c"], None),
        ("d", ["a", "b"], None),
        ("D", ["a", "b"], None),
    ],
)
def test_labels_of_public_data_sets(label: Any, cell: Any, number: int | None) -> None:
    """A number from 0, a text, a letter or a key."""
    assert choices.picked(label, cell) == number


def test_rows_are_read_and_refused_with_their_place(tmp_path: Path) -> None:
    """Aliases; rows without a label; a label that is no choice; choices that are none; one choice alone."""

    def read(*rows: dict[str, Any]) -> list[dict[str, Any]]:
        tiny.write_jsonl(tmp_path / "rows.jsonl", list(rows))
        return data.evaluation(DataConfig(eval=str(tmp_path / "rows.jsonl")), TASK, 0, HEAD)

    race = {"article": "the film", "question": "is it", "options": ["good", "bad"], "answer": "B"}
    (row,) = read(race)
    assert row == {"context": "the film", "question": "is it", "choices": ("good", "bad"), "label": 1}
    for unknown in ("", -1, None):
        (row,) = read({"question": "a", "choices": ["x", "y"], "label": unknown})
        assert "label" not in row
    bad = {"question": "a", "choices": ["x", "y"], "label": 2}
    with pytest.raises(DataError, match=r"'label' says '2', which is none of the 2 choices in 'choices'"):
        read(bad)
    for cell in ("x", ["x"], [1, 2], [], None):
        with pytest.raises(DataError, match="must hold a list of at least two texts, such as"):
            read({"question": "a", "choices": cell, "label": 0})
    with pytest.raises(DataError, match="row 2 has the label 'x'; it must be the number of a choice"):
        TASK.align([0, "x"], None, HEAD)
    with pytest.raises(DataError, match="do not say which choices are right"):
        TASK.infer_head([None], None)


@pytest.mark.parametrize("context", [False, True])
def test_what_is_asked_again_parts_no_split(context: bool, tmp_path: Path) -> None:
    """Rows about one text stay together, and not those of one generic question; without texts, they do."""
    rows = []
    for number in range(40):
        about = f"film number {number // 2} was seen by {number // 2} actors in a scene"
        question = "which of these is true of it" if context else about
        row = {"question": question, "choices": ["yes", "no"], "label": number % 2}
        rows.append(row | ({"context": about} if context else {}))
    tiny.write_jsonl(tmp_path / "rows.jsonl", rows)
    config = DataConfig(train=str(tmp_path / "rows.jsonl"), selection_share=0.25)
    training = data.load(config, TASK, 0).training
    key = "context" if context else "question"
    sides = [{row[key] for row in side} for side in (training.train, training.selection)]
    assert len(sides[1]) > 1
    assert not sides[0] & sides[1]


def test_other_models_are_refused(tmp_path: Path) -> None:
    """Models that write text, with and without their head, and a classifier: one sentence each."""
    config = transformers.GPT2Config(vocab_size=30, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "causal")
    with pytest.raises(
        ModelError, match="A model of type 'gpt2' cannot do multiple-choice: transformers has"
    ):
        pretrained.load(tmp_path / "causal", TASK, None, 0)
    classifier = tiny.text_model(tmp_path / "classifier")
    with pytest.raises(
        ModelError, match=r"no model for multiple-choice \(AutoModelForMultipleChoice\): give"
    ):
        pretrained.load(classifier, TASK, None, 0)
    assert architecture.infer_task(tiny_choices.model(tmp_path / "own")) == NAME
