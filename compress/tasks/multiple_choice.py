"""A question and several texts: which of them is the answer.

Columns are ``question``, ``choices`` (a list of texts, of any number), ``label`` (the right choice: its
number from 0, its text, its letter, or its key) and, where the question is about a text, ``context``. A row
becomes one piece a choice, encoded as transformers' own examples do: question and choice are a pair; with a
context, it is the first text, and question and choice are the second. Each piece has one logit, and a row's
probabilities are a softmax over those of its pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import DataError
from compress.tasks import Batch, Column, ExportSpec, Head, Link, Metric, Pieces, Prediction, Row
from compress.tasks import _heads as heads
from compress.tasks import _scores as scores
from compress.tasks import text_classification as texts
from compress.tasks._classification import positions
from compress.tasks._decisions import ABSENT
from compress.tasks._tokenizers import default_processor
from compress.tasks._tokenizers import load_tokenizer as load_processor

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["default_processor", "load_processor", "positions"]

MODEL = "AutoModelForMultipleChoice"
LABEL = "label"
COLUMNS = {
    "question": Column(
        required=True, aliases=("query", "prompt", "premise", "ctx"), holds="text", binds=False
    ),
    "choices": Column(
        required=True,
        aliases=("options", "endings", "candidates", "answers"),
        holds="texts",
        binds=False,
    ),
    "context": Column(required=False, aliases=("article", "passage", "paragraph", "text"), holds="text"),
    "label": Column(
        required=False,
        aliases=("answer", "answerkey", "labels", "correct"),
        holds="choice",
        of="choices",
    ),
}
OUTPUTS = ("logits",)
METRICS = (Metric("accuracy", of_rows=True, blind="what a guess gets"),)
WHOLE_ROWS = True

# Extra of a batch of whole rows: which choices are a row's own, bool [rows, choices].
_REAL = "real"


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """One logit a choice.

    Raises:
        DataError: no row says which choice is right.
    """
    if not any(label is not None for label in labels):
        raise DataError("the training rows have no labels, so they do not say which choices are right")
    return Head("choice", ())


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[int | None]:
    """The number of the right choice, from 0; None stays None."""
    aligned: list[int | None] = []
    for row, cell in enumerate(cells):
        number = None if cell is None else heads.whole(cell)
        if cell is not None and (number is None or number < 0):
            raise DataError(
                f"row {row + 1} has the label {str(cell)[:60]!r}; it must be the number of a choice, from 0"
            )
        aligned.append(number)
    return aligned


def head_of(config: Mapping[str, Any]) -> Head:
    """One logit a choice, whatever labels a ``config.json`` names: they mean nothing here."""
    return Head("choice", ())


def configure(config: Any, head: Head) -> None:
    """There is nothing to write: a model that picks has one output, and no labels."""


def model_class(config: Any) -> type[PreTrainedModel] | None:
    """Transformers' class, run on one text a choice; None where it has none."""
    import transformers

    mapping = transformers.AutoModelForMultipleChoice._model_mapping
    if type(config) not in mapping:
        return None
    from compress.tasks import _choice_model

    return _choice_model.model_class(mapping[type(config)])


def pieces(rows: Sequence[Row], processor: Any, max_length: int | None) -> Pieces:
    """The choices of each row, in their order; which is right is no part of them."""
    parts: list[Row] = []
    owner: list[int] = []
    for number, row in enumerate(rows):
        inputs = {role: cell for role, cell in row.items() if role != LABEL}
        parts += [{**inputs, "choices": (choice,)} for choice in _choices(row)]
        owner += [number] * len(_choices(row))
    return Pieces(parts, np.asarray(owner, dtype=np.int64))


def _choices(row: Row) -> Sequence[str]:
    """A row's choices; an empty one of a row of texts that has none."""
    return row.get("choices") or ("",)


def _pairs(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The two texts of each choice of rows, one below another."""
    pairs = []
    for row in rows:
        for choice in _choices(row):
            if row.get("context") is None:
                pairs.append({"text": row["question"], "text_pair": choice})
            else:
                pairs.append({"text": row["context"], "text_pair": f"{row['question']} {choice}".strip()})
    return pairs


def _counts(rows: Sequence[Row]) -> np.ndarray:
    return np.fromiter((len(_choices(row)) for row in rows), dtype=np.int64, count=len(rows))


def _starts(rows: Sequence[Row]) -> np.ndarray:
    return np.cumsum(_counts(rows)) - _counts(rows)


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row's longest choice, with what it is put to, before truncation, specials included."""
    counts = texts.lengths(_pairs(rows), processor)
    return np.asarray(np.maximum.reduceat(counts, _starts(rows))) if len(rows) else counts


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays padded to the longest choice: [pieces, length], or [rows, length, choices] of whole rows.

    Rows of fewer choices than others repeat their first one, which the loss leaves out.
    """
    flat = texts.encode(_pairs(rows), processor, head, max_length, labelled=False)
    counts, starts = _counts(rows), _starts(rows)
    if len(rows) == 0 or counts.max() == 1:
        return flat
    real = np.arange(counts.max()) < counts[:, None]
    places = starts[:, None] + np.where(real, np.arange(counts.max()), 0)
    cut = flat.truncated
    return replace(
        flat,
        inputs={name: array[places].swapaxes(1, 2) for name, array in flat.inputs.items()},
        labels=np.asarray([row[LABEL] for row in rows], dtype=np.int64)
        if labelled and all(LABEL in row for row in rows)
        else None,
        truncated=None if cut is None else np.asarray(cut[places].any(axis=1)),
        extras={_REAL: real},
    )


def link(head: Head) -> dict[str, Link]:
    """The logit itself: what it is compared with are those of the row's other choices."""
    return {"logits": "identity"}


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Cross entropy over the choices of whole rows, a scalar."""
    import torch
    from torch.nn import functional

    logits = outputs["logits"].float()
    real = torch.from_numpy(batch.extras[_REAL]).to(logits.device)
    return functional.cross_entropy(logits.masked_fill(~real, ABSENT), labels)


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """The logit of each choice, as a number."""
    values = scores.finite(outputs["logits"]).astype(np.float64).reshape(-1).tolist()
    return [Prediction(value=value, label=value) for value in values]


def joined(predictions: Sequence[Prediction], pieces: Pieces, head: Head) -> list[Prediction]:
    """The likeliest choice of each row, and the probabilities of all."""
    if not predictions:
        return []
    logits = np.asarray([prediction.value for prediction in predictions], dtype=np.float64)
    bounds = np.searchsorted(pieces.owner, np.arange(int(pieces.owner[-1]) + 2))
    answers = []
    for first, stop in pairwise(bounds.tolist()):
        shares = scores.softmax(logits[None, first:stop])[0]
        order = np.argsort(-shares, kind="stable").tolist()
        candidates = tuple((_choices(pieces.rows[first + i])[0], float(shares[i])) for i in order)
        best = candidates[0][0]
        answers.append(Prediction(value=best, label=best, candidates=(candidates,)))
    return answers


def reference(row: Row, head: Head) -> tuple[str, ...]:
    """The text of the right choice."""
    return (row["choices"][row[LABEL]],)


def right(prediction: Prediction, reference: Any) -> bool:
    """Whether the right choice is picked."""
    return bool(prediction.value == reference[0])


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """Whether a row is right, what a guess among its choices gets, and 1: float64 [rows, 3]."""
    table = np.ones((len(predictions), 3))
    for i, (prediction, true) in enumerate(zip(predictions, references, strict=True)):
        choices = [choice for choice, _ in (prediction.candidates or ((),))[0]]
        table[i, :2] = right(prediction, true), scores.ratio(choices.count(true[0]), len(choices))
    return table


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """The share of rows whose right choice is picked."""
    return {"accuracy": scores.ratio(totals[0], totals[2])}


def blind(totals: np.ndarray, head: Head) -> float:
    """What a guess gets."""
    return scores.ratio(totals[1], totals[2])


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; one logit a choice."""
    return texts.export_spec(config, processor, head)
