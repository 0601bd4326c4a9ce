"""Token classification: alignment of words and sub-tokens, entities against seqeval, real tweets."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pytest
import seqeval.metrics
import torch
import transformers
from seqeval.metrics.sequence_labeling import get_entities

from compress.errors import DataError, ModelError
from compress.tasks import Batch, Head, Prediction
from compress.tasks import token_classification as task

HEAD = Head("single_label", ("O", "B-loc", "I-loc", "B-per", "I-per"))


def piece_tokenizer(folder: Path) -> None:
    """A WordPiece tokenizer that cuts 'goodness' into two and drops a zero-width blank."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "##ness", "bad", "film"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def predicted(tags: list[list[str]], head: Head) -> list[Prediction]:
    """Predictions of these tags."""
    return [Prediction(value=tuple(head.labels.index(tag) for tag in row), label=tuple(row)) for row in tags]


def random_tags(source: random.Random, labels: tuple[str, ...]) -> list[str]:
    """Tags in any order, legal or not."""
    return source.choices(labels, k=source.randrange(1, 12))


@pytest.mark.parametrize(
    "labels",
    [
        HEAD.labels,
        ("O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "E-y", "S-y"),
        ("O", "I-loc", "I-per"),
        ("O", "B-creative-work", "I-creative-work"),
    ],
)
def test_entities_and_scores_equal_seqeval(labels: tuple[str, ...]) -> None:
    """On random tag sequences, broken ones too, entities and F1, precision and recall are seqeval's."""
    source = random.Random(0)
    head = Head("single_label", labels)
    actual = [random_tags(source, labels) for _ in range(200)]
    guessed = [[tag if source.random() < 0.7 else source.choice(labels) for tag in row] for row in actual]
    for row in (*actual, *guessed):
        assert task.entities(row) == set(get_entities(row))
    references = [tuple(labels.index(tag) for tag in row) for row in actual]
    totals = task.statistics(predicted(guessed, head), references, head).sum(axis=0)
    assert task.metrics(totals, head) == pytest.approx(
        {
            "f1": seqeval.metrics.f1_score(actual, guessed),
            "precision": seqeval.metrics.precision_score(actual, guessed),
            "recall": seqeval.metrics.recall_score(actual, guessed),
            "accuracy": seqeval.metrics.accuracy_score(actual, guessed),
        }
    )
    assert next(iter(task.metrics(totals, head))) == "f1"


def test_scores_by_hand() -> None:
    """One of two entities found, and one invented: F1, precision and recall of a half."""
    actual = [("B-per", "I-per", "O", "B-loc")]
    guess = [["B-per", "I-per", "B-loc", "O"]]
    references = [tuple(HEAD.labels.index(tag) for tag in row) for row in actual]
    totals = task.statistics(predicted(guess, HEAD), references, HEAD).sum(axis=0)
    assert totals[:5].tolist() == [1, 2, 2, 2, 4]
    assert dict(zip(HEAD.labels, totals[5:], strict=True)) == {
        label: actual[0].count(label) for label in HEAD.labels
    }
    assert task.metrics(totals, HEAD) == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.5}


def test_tags_without_chunks_are_scored_by_word() -> None:
    """Parts of speech have no entities: accuracy is the main figure then, and the only one."""
    head = Head("single_label", ("NOUN", "VERB"))
    totals = task.statistics(predicted([["NOUN", "VERB"]], head), [(0, 0)], head).sum(axis=0)
    assert task.metrics(totals, head) == {"accuracy": 0.5}


def test_the_first_piece_of_a_word_carries_its_tag(tmp_path: Path) -> None:
    """Later pieces, specials and padding are -100 in labels and no positions."""
    piece_tokenizer(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    rows = [
        {"tokens": ["goodness", "film"], "tags": (1, 2)},
        {"tokens": ["bad"], "tags": (3,)},
    ]
    batch = task.encode(rows, tokenizer, HEAD, None)
    assert batch.inputs["input_ids"].tolist() == [[2, 5, 6, 8, 3], [2, 7, 3, 0, 0]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [[-100, 1, -100, 2, -100], [-100, 3, -100, -100, -100]]
    assert task.positions(batch).tolist() == [
        [False, True, False, True, False],
        [False, True, False, False, False],
    ]
    assert task.lengths(rows, tokenizer).tolist() == [5, 3]


def test_words_that_vanish_keep_the_others_in_place(tmp_path: Path) -> None:
    """A word that the tokenizer drops is outside, words beyond the limit have no tag (GLiNER 378)."""
    piece_tokenizer(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    rows = [{"tokens": ["good", "\u200b", "bad", "film"], "tags": (1, 0, 3, 4)}]
    for limit, tags in ((None, (1, 0, 3, 4)), (4, (1, 0, 3, -1)), (3, (1, -1, -1, -1))):
        batch = task.encode(rows, tokenizer, HEAD, limit)
        assert batch.truncated.tolist() == [limit is not None]
        assert batch.labels is not None
        logits = np.eye(5)[np.where(batch.labels < 0, 2, batch.labels)]
        (prediction,) = task.decode({"logits": logits}, batch, HEAD)
        assert prediction.value == tags
        assert len(prediction.label) == 4
        assert [name is None for name in prediction.label] == [tag == -1 for tag in tags]
    no_outside = Head("single_label", ("NOUN", "VERB"))
    (prediction,) = task.decode({"logits": np.ones((*batch.labels.shape, 2))}, batch, no_outside)
    assert (prediction.value, prediction.label) == ((0, -1, -1, -1), ("NOUN", None, None, None))
    assert task.statistics([prediction], [(0, 0, 0, 0)], no_outside)[0, 3:].tolist() == [1, 4, 4, 0]


def test_a_row_that_loses_its_beginning_has_no_tags_there(tmp_path: Path) -> None:
    """With truncation on the left the last words keep their tags, and the first ones have none."""
    piece_tokenizer(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    tokenizer.truncation_side = "left"
    rows = [
        {"tokens": ["good", "\u200b", "bad", "film"], "tags": (1, 0, 3, 4)},
        {"tokens": ["bad"], "tags": (3,)},
    ]
    batch = task.encode(rows, tokenizer, HEAD, 4)
    assert batch.truncated.tolist() == [True, False]
    logits = np.eye(5)[np.where(batch.labels < 0, 2, batch.labels)]
    predictions = task.decode({"logits": logits}, batch, HEAD)
    assert predictions[0].value == (-1, -1, 3, 4)
    assert predictions[0].label[:2] == (None, None)
    assert predictions[1].value == (3,)
    table = task.statistics(predictions, [task.reference(row, HEAD) for row in rows], HEAD)
    assert table[:, 3:5].tolist() == [[2, 4], [1, 1]]


def test_left_padding_moves_positions_with_the_words(tmp_path: Path) -> None:
    """Positions follow the tokens to wherever padding puts them."""
    piece_tokenizer(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    tokenizer.padding_side = "left"
    batch = task.encode([{"tokens": ["good", "bad", "film"]}, {"tokens": ["bad"]}], tokenizer, HEAD, None)
    assert task.positions(batch)[1].tolist() == [False, False, False, True, False]


def test_a_batch_without_words_is_a_mistake_of_ours() -> None:
    """A plain batch does not say where words begin, and is not taken for one that does."""
    with pytest.raises(TypeError, match="the one that encode gave"):
        task.positions(Batch(inputs={"input_ids": np.zeros((1, 2))}, labels=None))


def test_a_batch_without_counting_positions_has_no_loss() -> None:
    """Zero, not 'not a number', with gradients that are zero."""
    logits = torch.ones(1, 2, 5, requires_grad=True)
    loss = task.loss({"logits": logits}, torch.full((1, 2), -100), HEAD, Batch({}, None))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_head_lists_outside_first_and_entities_together() -> None:
    """Tags are ordered by entity; names of the data keep their order."""
    cells = [["I-per", "B-per", "O"], ["B-loc", "O"], None]
    assert task.infer_head(cells, None).labels == ("O", "B-loc", "B-per", "I-per")
    assert task.infer_head([[0, 1]], ("O", "B-x", "I-x")).labels == ("O", "B-x", "I-x")
    with pytest.raises(DataError, match=r"one class only \('O'\)"):
        task.infer_head([["O", "O"]], None)
    with pytest.raises(DataError, match="row 1 has the tags 'O'"):
        task.infer_head(["O"], None)
    with pytest.raises(DataError, match="row 2 has the tags 3"):
        task.align([["O"], 3], None, HEAD)


def test_a_tokenizer_in_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only fast tokenizers know which word a token is of."""

    class Slow:
        is_fast = False

    monkeypatch.setattr(task.tokenizers, "load_tokenizer", lambda folder, words: Slow())
    with pytest.raises(ModelError, match="cannot say which word a token belongs to"):
        task.load_processor(tmp_path)


def test_byte_level_tokenizers_take_words(shared: Path, tmp_path: Path) -> None:
    """GPT-2's tokenizer, which refuses lists of words as it is saved, is loaded so that it takes them."""
    source = shared / "data/tokenizers/gpt2"
    fast = transformers.GPT2TokenizerFast(
        str(source / "vocab.json"), str(source / "merges.txt"), pad_token="<|endoftext|>"
    )
    fast.save_pretrained(tmp_path)
    tokenizer = task.load_processor(tmp_path)
    batch = task.encode([{"tokens": ["Hello", "world"], "tags": (0, 1)}], tokenizer, HEAD, None)
    assert batch.inputs["input_ids"].tolist() == [[18435, 995]]  # " Hello", " world"
    assert batch.labels is not None
    assert batch.labels.tolist() == [[0, 1]]


def test_real_tweets_survive_the_round_trip(shared: Path) -> None:
    """The 1,009 dev rows of WNUT 17: each word's tag is read back; F1 of the truth is 1, as seqeval says."""
    with gzip.open(shared / "data/wnut17/validation.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    names = json.loads((shared / "data/wnut17/labels.json").read_text())
    cells = [row["tags"] for row in rows]
    head = task.infer_head(cells, names)
    aligned = [
        {"tokens": row["tokens"], "tags": tags}
        for row, tags in zip(rows, task.align(cells, names, head), strict=True)
    ]
    tokenizer = task.load_processor(shared / "models/minilm-sst2")
    batch = task.encode(aligned, tokenizer, head, None)
    assert batch.labels is not None
    logits = np.eye(len(head.labels), dtype=np.float32)[np.where(batch.labels < 0, 1, batch.labels)]
    predictions = task.decode({"logits": logits}, batch, head)
    references = [task.reference(row, head) for row in aligned]
    missed = sum(
        a != b for p, r in zip(predictions, references, strict=True) for a, b in zip(p.value, r, strict=True)
    )
    assert missed == 0
    figures = task.metrics(task.statistics(predictions, references, head).sum(axis=0), head)
    assert (
        figures["f1"]
        == pytest.approx(seqeval.metrics.f1_score(cells, [list(p.label) for p in predictions]))
        == 1
    )
    assert sum(len(row["tokens"]) for row in rows) == 15_733
