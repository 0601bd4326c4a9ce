"""A question about a text: the part of the text that answers it, or that none does.

Columns are ``question``, ``context`` and ``answers``. A context that is too long is read in windows with the
question before each; the most probable part over all windows is the answer. A part's probability is that of
its first token times that of its last, over the tokens of the context and the one that says "no answer here"
(``[CLS]``), as the pipeline of transformers computes it; it has at most ``LONGEST`` tokens.

A model that was trained on rows without answers may answer nothing (SQuAD 2.0): where the log of the
probability of no answer, the lowest over all windows, exceeds that of the best part by more than a threshold.
It is 0 until it is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import log
from compress.errors import DataError, ModelError
from compress.tasks import Batch, Column, ExportSpec, Head, Link, Metric, Pieces, Prediction, Row
from compress.tasks import _answer_texts as answer_texts
from compress.tasks import _scores as scores
from compress.tasks import _thresholds as thresholds
from compress.tasks import _tokenizers as tokenizers
from compress.tasks import _windows as windows
from compress.tasks._tokenizers import default_processor

if TYPE_CHECKING:
    import torch

__all__ = ["default_processor"]

MODEL = "AutoModelForQuestionAnswering"
COLUMNS = {
    "question": Column(required=True, aliases=("query",), holds="text", blank=False, binds=False),
    "context": Column(required=True, aliases=("passage", "paragraph"), holds="text", blank=False),
    "answers": Column(
        required=False,
        aliases=("answer", "answers.text", "answer_text"),
        holds="answers",
        of="context",
    ),
}
LABEL = "answers"
OUTPUTS = ("start_logits", "end_logits")
METRICS = (
    Metric("f1", blind="what answering nothing gets"),
    Metric("exact_match", of_rows=True, blind="what answering nothing gets"),
    Metric("answered_f1"),
    Metric("answered_exact_match"),
    Metric("unanswerable_accuracy"),
)
LONGEST = 30
IGNORED = -100

# Key of a piece under which its window stands.
_WINDOW = "window"
# Extras of a batch: where a token stands in its context, int64 [rows, length, 2], -1 for what is none of it;
# the position that says that there is no answer, int64 [rows], -1 where the tokenizer has none; the contexts.
_OFFSETS = "offsets"
_EMPTY = "empty"
_CONTEXT = "context"


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """Parts of texts; the model may answer nothing where some row has no answer.

    Raises:
        DataError: a cell holds no answers, or no row has one.
    """
    aligned = align([cell for cell in labels if cell is not None], names, Head("span", (), thresholds=(0.0,)))
    if not any(aligned):
        raise DataError("no training row has an answer, so that there is nothing to learn where one stands")
    return Head("span", (), thresholds=None if all(aligned) else (0.0,))


def head_of(config: Mapping[str, Any]) -> Head:
    """Parts of texts, with the threshold of no answer where the model may give none."""
    return Head("span", (), thresholds=thresholds.read(config, 1))


def configure(config: Any, head: Head) -> None:
    """Write the head into a transformers config: two outputs a token, and the threshold."""
    config.num_labels = 2
    config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
    config.label2id = {"LABEL_0": 0, "LABEL_1": 1}
    config.problem_type = None
    thresholds.write(config, head)


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
    """Tuples of (text, first character); an empty one where the text has no answer; None stays None."""
    aligned: list[answer_texts.Spans | None] = []
    for row, cell in enumerate(cells):
        spans = None if cell is None else answer_texts.spans(cell)
        if cell is not None and spans is None:
            raise DataError(
                f"row {row + 1} has the answers {str(cell)[:80]}: a cell must be like {answer_texts.FORM}, "
                "with empty lists where the text has no answer"
            )
        aligned.append(spans)
    empty = sum(spans == () for spans in aligned)
    if empty and head.thresholds is None and any(aligned):
        log.once(
            "%d of %d rows have no answer, and this model always gives one: 'paredown fit-threshold' fits "
            "when it answers nothing.",
            empty,
            len(aligned),
        )
    return aligned


def load_processor(folder: Path) -> Any:
    """The tokenizer of a model folder; it must say where in the text a token stands.

    Raises:
        ModelError: there is none, or it cannot do that.
    """
    tokenizer = tokenizers.load_tokenizer(folder)
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer in {folder} cannot say where in the text a token stands (it has no "
            "tokenizer.json): save the fast form of it into the folder; a model whose kind has none (CANINE, "
            "say) cannot answer by parts of texts here"
        )
    return tokenizer


def pieces(rows: Sequence[Row], processor: Any, max_length: int | None) -> Pieces:
    """The windows of each row, in their order in its context."""
    parts_of_rows: list[Row] = []
    owner: list[int] = []
    for number, (row, parts) in enumerate(
        zip(rows, windows.windows(rows, processor, max_length), strict=True)
    ):
        parts_of_rows += [{**row, _WINDOW: part} for part in parts]
        owner += [number] * len(parts)
    return Pieces(parts_of_rows, np.asarray(owner, dtype=np.int64))


def _windows(rows: Sequence[Row], processor: Any) -> list[windows.Window]:
    """One window each: a piece's own, or all of a row that was not taken apart."""
    missing = [i for i, row in enumerate(rows) if _WINDOW not in row]
    by_row = dict(zip(missing, windows.whole([rows[i] for i in missing], processor), strict=True))
    return [by_row[i] if i in by_row else row[_WINDOW] for i, row in enumerate(rows)]


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each window before a limit, specials included; of the whole row where it is one piece."""
    parts = _windows(rows, processor)
    return np.fromiter((len(part) + part.lost for part in parts), dtype=np.int64, count=len(parts))


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays of windows, padded to the longest of them."""
    parts = _windows(rows, processor)
    if max_length is not None:
        parts = [part.shortened(max_length) for part in parts]
    inputs = windows.padded(parts, processor)
    offsets = windows.offsets(parts)
    empty = np.full(len(rows), -1, dtype=np.int64)
    if processor.cls_token_id is not None:
        marks = inputs["input_ids"] == processor.cls_token_id
        empty = np.where(marks.any(axis=1), marks.argmax(axis=1), -1)
    labels = None
    if labelled and all(LABEL in row for row in rows):
        labels = np.asarray(
            [target(row[LABEL], *place) for row, *place in zip(rows, offsets, empty, strict=True)],
            dtype=np.int64,
        ).reshape(-1, 2)
    contexts = np.empty(len(rows), dtype=object)
    contexts[:] = [row["context"] for row in rows]
    return Batch(
        inputs=inputs,
        labels=labels,
        truncated=np.asarray([part.lost > 0 for part in parts], dtype=bool),
        extras={_OFFSETS: offsets, _EMPTY: empty, _CONTEXT: contexts},
    )


def target(answers: answer_texts.Spans, offsets: np.ndarray, empty: int) -> tuple[int, int]:
    """First and last token of the first answer that has a place; that of no answer where none is whole here.

    Args:
        answers: of the row.
        offsets: of the window's tokens, [length, 2].
        empty: position that says that there is no answer; -1 for none, and nothing is learned then.

    Returns:
        ``IGNORED`` twice where a window teaches nothing: the row has answers, and none of them has a place.
    """
    placed = [(start, start + len(text)) for text, start in answers if start != answer_texts.UNPLACED]
    if answers and not placed:
        return IGNORED, IGNORED
    nowhere = IGNORED if empty < 0 else empty
    context = np.flatnonzero(offsets[:, 0] >= 0)
    if not placed or not len(context):
        return nowhere, nowhere
    begin, end = placed[0]
    if offsets[context[0], 0] > begin or offsets[context[-1], 1] < end:
        return nowhere, nowhere
    first = context[offsets[context, 0] <= begin][-1]
    last = context[offsets[context, 1] >= end][0]
    return int(first), int(max(first, last))


def link(head: Head) -> dict[str, Link]:
    """Where an answer begins and where it ends: one distribution each over the positions of a window."""
    return {"start_logits": "positions", "end_logits": "positions"}


def _extra(batch: Batch, name: str) -> np.ndarray:
    if name not in batch.extras:
        raise TypeError("a batch of this task must be the one that encode gave: it knows where tokens stand")
    return batch.extras[name]


def positions(batch: Batch) -> np.ndarray:
    """Tokens of the context and the one that says that there is no answer, bool [rows, length]."""
    counting: np.ndarray = _extra(batch, _OFFSETS)[:, :, 0] >= 0
    empty = _extra(batch, _EMPTY)
    counting[np.flatnonzero(empty >= 0), empty[empty >= 0]] = True
    return counting


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Mean of the cross entropies of first and last token over the positions that count, a scalar."""
    import torch
    from torch.nn import functional

    from compress.tasks._decisions import ABSENT

    counting = torch.from_numpy(positions(batch)).to(labels.device)
    terms = []
    for side, name in enumerate(OUTPUTS):
        logits = outputs[name].float().masked_fill(~counting, ABSENT)
        total = functional.cross_entropy(logits, labels[:, side], ignore_index=IGNORED, reduction="sum")
        terms.append(total / (labels[:, side] != IGNORED).sum().clamp(min=1))
    return torch.stack(terms).mean()


def spans(starts: np.ndarray, ends: np.ndarray, context: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest part of each window: first and last token, int64 [windows, 2], and its probability.

    Of equally likely ones, the first.

    Args:
        starts: probability that an answer begins at a token, [windows, length].
        ends: that it ends there.
        context: which tokens may be in an answer, bool [windows, length].
    """
    count, length = starts.shape
    first = np.where(context, starts, 0.0)
    last = np.pad(np.where(context, ends, 0.0), ((0, 0), (0, LONGEST - 1)))
    ahead = np.lib.stride_tricks.sliding_window_view(last, LONGEST, axis=1)
    flat = (first[:, :, None] * ahead).reshape(count, length * LONGEST)
    best = flat.argmax(axis=1)
    places = np.stack([best // LONGEST, best // LONGEST + best % LONGEST], axis=1)
    return places, flat[np.arange(count), best]


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """The likeliest part of each window, and how likely it is that it has no answer."""
    counting, offsets, empty = positions(batch), _extra(batch, _OFFSETS), _extra(batch, _EMPTY)
    shares = [scores.softmax(np.where(counting, scores.finite(outputs[name]), -np.inf)) for name in OUTPUTS]
    places, likely = spans(shares[0], shares[1], offsets[:, :, 0] >= 0)
    rows = np.arange(len(empty))
    nothing = np.where(empty >= 0, shares[0][rows, empty] * shares[1][rows, empty], 0.0)
    predictions = []
    for row, text in enumerate(_extra(batch, _CONTEXT)):
        begin, end = offsets[row, places[row, 0], 0], offsets[row, places[row, 1], 1]
        part = (int(begin), int(end)) if likely[row] > 0 else (0, 0)
        answer = text[slice(*part)]
        predictions.append(
            Prediction(answer, answer, score=float(likely[row]), span=part, empty=float(nothing[row]))
        )
    return predictions


def joined(predictions: Sequence[Prediction], pieces: Pieces, head: Head) -> list[Prediction]:
    """The most probable part over the windows of each row, or no answer where the model may say that."""
    best: list[Prediction] = []
    for owner, prediction in zip(pieces.owner.tolist(), predictions, strict=True):
        if owner == len(best):
            best.append(prediction)
            continue
        before = best[owner]
        likelier = prediction if (prediction.score or 0.0) > (before.score or 0.0) else before
        best[owner] = replace(likelier, empty=min(prediction.empty or 0.0, before.empty or 0.0))
    return decided(best, head)


def margin(prediction: Prediction) -> float:
    """Log of the probability of no answer against that of the best part, in nats."""
    if not prediction.empty:
        return -math.inf
    return math.log(prediction.empty) - math.log(prediction.score) if prediction.score else math.inf


def decided(predictions: Sequence[Prediction], head: Head) -> list[Prediction]:
    """Best parts as answers: none where the margin of no answer is above the threshold."""
    if head.thresholds is None:
        return list(predictions)
    (threshold,) = head.thresholds
    return [
        replace(prediction, value="", label="", span=None, score=prediction.empty)
        if margin(prediction) > threshold
        else prediction
        for prediction in predictions
    ]


def usual(head: Head) -> Head:
    """No answer where it is likelier than the best part."""
    return replace(head, thresholds=None if head.thresholds is None else (0.0,))


def fitted(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> tuple[float, ...]:
    """The threshold of no answer with the highest F1 on some rows, halfway between the two next margins.

    Args:
        predictions: made without a threshold: best parts.
        references: of the rows.
        head: of the model.

    Raises:
        DataError: all rows have an answer, or none has.
    """
    empty = np.array([not texts for texts in references], dtype=bool)
    if empty.all() or not empty.any():
        share = "none" if empty.all() else "each"
        raise DataError(
            f"the {len(empty)} selection rows do not say where no answer begins: {share} of them has an "
            "answer, and both kinds are needed (data.selection)"
        )
    values = [str(prediction.value) for prediction in predictions]
    answering = np.array(
        [answer_texts.score(text, texts)[0] for text, texts in zip(values, references, strict=True)]
    )
    margins = np.array([margin(prediction) for prediction in predictions])
    return (thresholds.best(margins, over=empty.astype(np.float64), under=answering),)


def reference(row: Row, head: Head) -> tuple[str, ...]:
    """The texts that are right; none where the context has no answer."""
    return tuple(text for text, _ in row[LABEL])


def right(prediction: Prediction, reference: Any) -> bool:
    """Whether an answer is one of the references, by exact match."""
    return answer_texts.score(str(prediction.value), reference)[1] == 1.0


def statistics(predictions: Sequence[Prediction], references: Sequence[Any], head: Head) -> np.ndarray:
    """[rows, 6]: F1, exact match and 1 of rows with an answer, then of rows without."""
    table = np.zeros((len(predictions), 6))
    for row, (prediction, texts) in enumerate(zip(predictions, references, strict=True)):
        begin = 0 if texts else 3
        table[row, begin : begin + 3] = (*answer_texts.score(str(prediction.value), texts), 1)
    return table


def metrics(totals: np.ndarray, head: Head) -> dict[str, float]:
    """F1 and exact match; of a model that may answer nothing, also those of each kind of rows."""
    f1, exact, answered, empty_f1, empty_exact, empty = (float(value) for value in totals)
    rows = answered + empty
    everywhere = {
        "f1": scores.ratio(f1 + empty_f1, rows),
        "exact_match": scores.ratio(exact + empty_exact, rows),
    }
    if head.thresholds is None:
        return everywhere
    return {
        **everywhere,
        "answered_f1": scores.ratio(f1, answered),
        "answered_exact_match": scores.ratio(exact, answered),
        "unanswerable_accuracy": scores.ratio(empty_exact, empty),
    }


def blind(totals: np.ndarray, head: Head) -> float:
    """The share of rows without an answer, which is what answering nothing gets."""
    return scores.ratio(float(totals[5]), float(totals[2] + totals[5]))


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; one number a token for each end of an answer."""
    axes = {0: "batch", 1: "sequence"}
    return ExportSpec(
        inputs={name: dict(axes) for name in tokenizers.input_names(processor)},
        outputs={name: dict(axes) for name in OUTPUTS},
        length_axis="sequence",
    )
