"""Words of a sentence: one tag a word, entities scored as ``seqeval`` does.

A word's first sub-token carries its tag; other sub-tokens, specials and padding do not count. Words
that the length limit cut off, and words that the tokenizer drops, are outside of any entity in
predictions. Entities are read from tags as conlleval does (Tjong Kim Sang and Buchholz 2000): ``B`` and
``S`` begin one, so does an ``I`` or ``E`` that continues none; a change of type ends one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError, ModelError
from compress.tasks import Batch, Column, ExportSpec, Head, Link, Metric, Prediction, Row
from compress.tasks import _heads as heads
from compress.tasks import _scores as scores
from compress.tasks import _tokenizers as tokenizers
from compress.tasks._tokenizers import default_processor

if TYPE_CHECKING:
    import torch

__all__ = ["default_processor"]

MODEL = "AutoModelForTokenClassification"
COLUMNS = {
    "tokens": Column(required=True, aliases=("words",), holds="tokens"),
    "tags": Column(required=False, aliases=("ner_tags", "labels", "label"), holds="tags"),
}
LABEL = "tags"
OUTPUTS = ("logits",)
METRICS = (
    Metric("f1", blind="what finding nothing gets", title="F1"),
    Metric("precision"),
    Metric("recall"),
    Metric("accuracy", blind="the share of the commonest label"),
)
IGNORED = -100
UNSEEN = -1  # the tag of a word that the length limit cut off
_CHUNK = re.compile(r"[BIESLU]-.+")


# Extras of a batch: index of the word whose first sub-token stands at a position, else -1, int64
# [rows, length]; how many words each row has, also those that were cut off, int64 [rows]; and the words
# that the length limit left, from the first to before the last, int64 [rows, 2].
_FIRST = "first_tokens"
_COUNT = "words"
_KEPT = "kept_words"


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """The tags that occur: outside first, then by entity type.

    Raises:
        DataError: cells are no lists of tags, or there is one tag only.
    """
    present = [cell for cell in labels if cell is not None]
    for row, cell in enumerate(present):
        if not isinstance(cell, list | tuple):
            raise DataError(
                f"row {row + 1} has the tags {cell!r}: a cell must be a list with a tag for each word"
            )
    tags = heads.class_names([tag for cell in present for tag in cell], names)
    if names is None:
        tags = tuple(sorted(tags, key=lambda tag: (tag != "O", tag.partition("-")[2], tag)))
    return Head("tags", tags)


def head_of(config: Mapping[str, Any]) -> Head:
    """The tags that a ``config.json`` names."""
    return replace(heads.head_of(config), problem="tags")


def configure(config: Any, head: Head) -> None:
    """Write the tags into a transformers config: one label a word."""
    heads.configure(config, replace(head, problem="single_label"))


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
    """Tuples of tag ids in the head's order; None stays None."""
    lookup = heads.Lookup(names, head)
    aligned: list[Any] = []
    for row, cell in enumerate(cells):
        if cell is not None and not isinstance(cell, list | tuple):
            raise DataError(
                f"row {row + 1} has the tags {cell!r}: a cell must be a list with a tag for each word"
            )
        if cell is None:
            aligned.append(None)
            continue
        ids = [lookup(tag) for tag in cell]
        if None in ids:
            raise lookup.refuse(cell[ids.index(None)], row, names)
        aligned.append(tuple(ids))
    return aligned


def load_processor(folder: Path) -> Any:
    """The tokenizer of a model folder; it must say which word a token belongs to.

    Raises:
        ModelError: there is none, or it cannot do that.
    """
    tokenizer = tokenizers.load_tokenizer(folder, words=True)
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer in {folder} cannot say which word a token belongs to (it has no tokenizer.json): "
            "save the fast form of it into the folder; a model whose kind has none (CANINE, say) cannot tag "
            "words here"
        )
    return tokenizer


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row before truncation, specials included."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    return tokenizers.token_counts(
        tokenizers.encoded(
            processor,
            [row["tokens"] for row in rows],
            is_split_into_words=True,
            truncation=False,
            verbose=False,
        )
    )


def first_tokens(word_ids: Sequence[int | None]) -> np.ndarray:
    """The word at its first sub-token, -1 elsewhere, int64 like the tokens."""
    words = np.asarray([-1 if word is None else word for word in word_ids], dtype=np.int64)
    repeated = np.zeros(len(words), dtype=bool)
    repeated[1:] = words[1:] == words[:-1]
    return np.where(repeated, -1, words)


def kept_words(first: np.ndarray, counts: np.ndarray, cut: np.ndarray, *, left: bool) -> np.ndarray:
    """The words of each row that the length limit left, from the first to before the last, int64 [rows, 2].

    Args:
        first: index of the word whose first sub-token stands at a position, else -1, int64 [rows, length].
        counts: words of each row, int64 [rows].
        cut: which rows were cut, bool [rows].
        left: whether a row loses its beginning instead of its end.
    """
    all_words = np.stack([np.zeros_like(counts), counts], axis=1)
    starts = first >= 0
    if left:
        begin = np.where(starts, first, counts[:, None]).min(axis=1, initial=np.iinfo(np.int64).max)
        remaining = np.stack([np.minimum(begin, counts), counts], axis=1)
    else:
        remaining = np.stack([np.zeros_like(counts), first.max(axis=1, initial=-1) + 1], axis=1)
    return np.where(cut[:, None], remaining, all_words)


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays padded to the longest row; a tag at the first sub-token of each word."""
    encoded = tokenizers.encoded(
        processor,
        [list(row["tokens"]) for row in rows],
        is_split_into_words=True,
        truncation=max_length is not None,
        max_length=max_length,
        padding=True,
        verbose=False,
    )
    cut = np.zeros(len(rows), dtype=bool)
    if max_length is not None:
        cut = tokenizers.truncated(encoded, lambda: lengths(rows, processor))
    words = np.stack([first_tokens(row.word_ids) for row in encoded.encodings])
    labels = None
    if labelled and all(LABEL in row for row in rows):
        labels = np.full(words.shape, IGNORED, dtype=np.int64)
        for place, row in zip(np.arange(len(rows)), rows, strict=True):
            counts = words[place] >= 0
            labels[place, counts] = np.asarray(row[LABEL], dtype=np.int64)[words[place, counts]]
    counts = np.asarray([len(row["tokens"]) for row in rows], dtype=np.int64)
    spans = kept_words(words, counts, cut, left=processor.truncation_side == "left")
    return Batch(
        inputs=tokenizers.arrays(encoded, processor),
        labels=labels,
        truncated=cut,
        extras={_FIRST: words, _COUNT: counts, _KEPT: spans},
    )


def link(head: Head) -> dict[str, Link]:
    """One distribution a token."""
    return {"logits": "softmax"}


def _extra(batch: Batch, name: str) -> np.ndarray:
    if name not in batch.extras:
        raise TypeError("a batch of this task must be the one that encode gave: it knows where words begin")
    return batch.extras[name]


def positions(batch: Batch) -> np.ndarray:
    """First sub-tokens of words, bool [rows, length]."""
    counting: np.ndarray = _extra(batch, _FIRST) >= 0
    return counting


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Cross entropy over first sub-tokens, a scalar; 0 where a batch has none."""
    from torch.nn import functional

    logits = outputs["logits"].float()
    total = functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """A tag for each word; words that were cut off have none: -1, and None for its name.

    A word that the tokenizer drops is outside, where a tag says that.
    """
    best = scores.finite(outputs["logits"]).argmax(axis=-1)
    outside = head.labels.index("O") if "O" in head.labels else UNSEEN
    predictions = []
    extras = (_extra(batch, name) for name in (_FIRST, _COUNT, _KEPT))
    for tags, words, count, (begin, end) in zip(best, *extras, strict=True):
        ids = np.full(count, UNSEEN, dtype=np.int64)
        ids[begin:end] = outside
        ids[words[words >= 0]] = tags[words >= 0]
        values = tuple(ids.tolist())
        names = tuple(None if i == UNSEEN else head.labels[i] for i in values)
        predictions.append(Prediction(value=values, label=names))
    return predictions


def reference(row: Row, head: Head) -> tuple[int, ...]:
    """The aligned tags of a row."""
    return tuple(row[LABEL])


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Entities as (type, first word, last word), read as seqeval's ``get_entities`` reads them."""
    spans = set()
    before, kind_before, begin = "O", "", 0
    for place, tag in enumerate([*tags, "O"]):
        mark, kind = tag[:1] or "O", tag[1:].split("-", maxsplit=1)[-1] or "_"
        changed = kind != kind_before
        if before in "ES" or (before in "BI" and mark in "BSO") or (before not in "O." and changed):
            spans.add((kind_before, begin, place - 1))
        if mark in "BS" or (before in "ESO" and mark in "EI") or (mark not in "O." and changed):
            begin = place
        before, kind_before = mark, kind
    return spans


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """[rows, 5 + K]: entities right, predicted and true; words right, and all words; words of each tag.

    A word that was cut off begins and continues no entity, and is not right, whatever its tag.
    """
    table = np.zeros((len(predictions), 5 + len(head.labels)))
    for row, (prediction, true) in enumerate(zip(predictions, references, strict=True)):
        guess: Any = prediction.value
        names = [[head.labels[i] if i >= 0 else "O" for i in ids] for ids in (guess, true)]
        guessed, actual = entities(names[0]), entities(names[1])
        right = sum(a == b for a, b in zip(guess, true, strict=True))
        table[row, :5] = (len(guessed & actual), len(guessed), len(actual), right, len(true))
        table[row, 5:] = np.bincount([tag for tag in true if tag >= 0], minlength=len(head.labels))
    return table


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """Entity F1, precision, recall and the share of right words; the last alone for tags without chunks."""
    hits, guessed, actual, right, words = (float(value) for value in totals[:5])
    accuracy = {"accuracy": scores.ratio(right, words)}
    if not any(_CHUNK.fullmatch(label) for label in head.labels):
        return accuracy
    return {
        "f1": scores.f1(hits, guessed, actual),
        "precision": scores.ratio(hits, guessed),
        "recall": scores.ratio(hits, actual),
        **accuracy,
    }


def blind(totals: np.ndarray, head: Head) -> float:
    """0 for entities, of which the answer 'outside' finds none; else the share of the commonest tag."""
    if any(_CHUNK.fullmatch(label) for label in head.labels):
        return 0.0
    return scores.ratio(float(totals[5:].max()), float(totals[4]))


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; logits for each token."""
    axes = {0: "batch", 1: "sequence"}
    return ExportSpec(
        inputs={name: dict(axes) for name in tokenizers.input_names(processor)},
        outputs={"logits": axes},
        length_axis="sequence",
    )
