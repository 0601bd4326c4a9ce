"""A text and candidate labels: which fits best, asked of a model of natural language inference.

Columns are ``text`` and ``label``. A row becomes one piece a candidate label: the text as the premise and a
hypothesis about it, such as "This example is sport." The answer is the label whose hypothesis follows best;
its probabilities are a softmax over the outputs for entailment, as in the pipeline of transformers. A text
that is too long is cut, a hypothesis never.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import log
from compress.errors import DataError, ModelError
from compress.reading import json_values
from compress.tasks import Batch, Column, ExportSpec, Head, Pieces, Prediction, Row, refuse_foreign
from compress.tasks import _heads as heads
from compress.tasks import _hypotheses as hypotheses
from compress.tasks import _scores as scores
from compress.tasks import _tokenizers as tokenizers
from compress.tasks import text_classification as texts
from compress.tasks._classification import (
    LABEL,
    LABEL_ALIASES,
    METRICS,
    blind,
    link,
    metrics,
    positions,
    reference,
    statistics,
)
from compress.tasks._tokenizers import default_processor

if TYPE_CHECKING:
    import torch

__all__ = [
    "LABEL",
    "METRICS",
    "blind",
    "default_processor",
    "link",
    "metrics",
    "positions",
    "reference",
    "statistics",
]

MODEL = "AutoModelForSequenceClassification"
COLUMNS = {
    "text": Column(required=True, aliases=texts.COLUMNS["text"].aliases, holds="text"),
    "label": Column(required=False, aliases=LABEL_ALIASES, holds="label"),
}
OUTPUTS = ("logits",)
NEW_HEADS = False

# Keys of a piece: its hypothesis, and the candidate label that this is about.
_HYPOTHESIS = "hypothesis"
_CANDIDATE = "candidate"
# Extra of a batch: the output that says entailment, int64 [pieces].
_ENTAILMENT = "entailment"


def infer_head(labels: Sequence[Any], names: Sequence[str] | None) -> Head:
    """The candidate labels that the data names.

    Raises:
        DataError: there are none, or rows with several.
    """
    present = [cell for cell in labels if cell is not None]
    if any(isinstance(cell, list | tuple) for cell in present):
        raise DataError("zero-shot-classification gives one label a row, and the label cells are lists")
    return Head("single_label", heads.class_names(present, names))


def align(cells: Sequence[Any], names: Sequence[str] | None, head: Head) -> list[Any]:
    """Ids of candidate labels; None stays None."""
    return heads.align_classes(cells, names, head)


def head_of(config: Mapping[str, Any]) -> Head:
    """The candidate labels of a ``config.json``, whose outputs are those of inference.

    Raises:
        ModelError: the model is none of inference.
    """
    hypothesis_set = hypotheses.read(config)
    return Head("single_label", hypothesis_set.labels, size=hypothesis_set.outputs)


def is_made_for(config: Mapping[str, Any]) -> str | None:
    """The field that says what a model of inference is asked."""
    return hypotheses.FIELD if hypotheses.FIELD in config else None


def configure(config: Any, head: Head) -> None:
    """Write the candidate labels into a transformers config; its outputs stay what they mean."""
    field = getattr(config, hypotheses.FIELD, None) or {}
    template = field.get("template", hypotheses.TEMPLATE)
    setattr(config, hypotheses.FIELD, hypotheses.written(head.labels, template))


def fields(
    folder: Path,
    content: Mapping[str, Any],
    options: Mapping[str, Any],
    head_of_data: Callable[[], Head | None],
) -> dict[str, Any]:
    """What the model is asked: the labels that ``load`` names, else its own, else those of the data.

    Raises:
        ModelError: there are none, or they cannot be asked.
    """
    refuse_foreign(options, ("labels", "template"))
    before = hypotheses.read(content)
    chosen = tuple(options.get("labels") or ()) or before.labels
    if not chosen:
        head = head_of_data()
        chosen = head.labels if head is not None else ()
    if not chosen:
        raise ModelError(
            "nothing says between which labels the model is to choose: give data with labels, or name them "
            "in a recipe, as in 'load: {labels: [sport, politics]}'"
        )
    template = options.get("template") or before.template
    log.info("the model chooses between %s, each asked as %r", heads.listed(chosen), template)
    return {hypotheses.FIELD: hypotheses.written(chosen, template)}


def load_processor(folder: Path) -> Any:
    """The tokenizer of a model folder, with the hypotheses that its ``config.json`` asks."""
    tokenizer = tokenizers.load_tokenizer(folder)
    tokenizer.hypotheses = hypotheses.read(json_values.read(folder / "config.json", error=ModelError))
    return tokenizer


def pieces(rows: Sequence[Row], processor: Any, max_length: int | None) -> Pieces:
    """One piece a candidate label, in their order, of each row."""
    sentences = processor.hypotheses.texts()
    parts = [
        {**row, _HYPOTHESIS: text, _CANDIDATE: number}
        for row in rows
        for number, text in enumerate(sentences)
    ]
    return Pieces(parts, np.repeat(np.arange(len(rows)), len(sentences)))


def _pairs(rows: Sequence[Row], processor: Any) -> tuple[list[str], list[str]]:
    """Premises and hypotheses; a row that was not taken apart gets the longest one."""
    longest = max(processor.hypotheses.texts(), key=len)
    return [row["text"] for row in rows], [row.get(_HYPOTHESIS, longest) for row in rows]


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each piece before truncation, specials included."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    premises, sentences = _pairs(rows, processor)
    encoded = tokenizers.encoded(processor, premises, sentences, truncation=False, verbose=False)
    return tokenizers.token_counts(encoded)


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays padded to the longest piece; the text is cut, its hypothesis is whole.

    Raises:
        ModelError: a hypothesis alone is longer than the limit.
    """
    outputs = processor.hypotheses
    premises, sentences = _pairs(rows, processor)
    if max_length is not None:
        _check_room(sentences, processor, max_length)
    encoded = tokenizers.encoded(
        processor,
        premises,
        sentences,
        truncation="only_first" if max_length is not None else False,
        max_length=max_length,
        padding=True,
        verbose=False,
    )
    cut = np.zeros(len(rows), dtype=bool)
    if max_length is not None:
        cut = tokenizers.truncated(encoded, lambda: lengths(rows, processor))
    labels = None
    if labelled and all(LABEL in row for row in rows):
        follows = np.asarray([row.get(_CANDIDATE, row[LABEL]) == row[LABEL] for row in rows], dtype=bool)
        labels = np.where(follows, outputs.entailment, outputs.contradiction).astype(np.int64)
    return Batch(
        inputs=tokenizers.arrays(encoded, processor),
        labels=labels,
        truncated=cut,
        extras={_ENTAILMENT: np.full(len(rows), outputs.entailment, dtype=np.int64)},
    )


def _check_room(sentences: Sequence[str], processor: Any, max_length: int) -> None:
    longest = max(set(sentences), key=len)
    needed = len(processor("", longest, verbose=False)["input_ids"])
    if needed >= max_length:
        raise ModelError(
            f"the hypothesis {longest[:60]!r} has {needed} tokens with no text before it, and rows are "
            f"cut to {max_length}: give a larger limit (data.max_length), or shorter labels or a shorter "
            "template (labels and template of load)"
        )


def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, head: Head, batch: Batch) -> torch.Tensor:
    """Cross entropy of entailment for the true label and of contradiction for the others, a scalar."""
    from torch.nn import functional

    return functional.cross_entropy(outputs["logits"].float(), labels)


def decode(outputs: Mapping[str, np.ndarray], batch: Batch, head: Head) -> list[Prediction]:
    """How much each hypothesis follows: the output for entailment, as a number."""
    logits = scores.finite(outputs["logits"])
    chosen = logits[np.arange(len(logits)), batch.extras[_ENTAILMENT]].astype(np.float64)
    return [Prediction(value=value, label=value) for value in chosen.tolist()]


def joined(predictions: Sequence[Prediction], pieces: Pieces, head: Head) -> list[Prediction]:
    """The label whose hypothesis follows best, and the probabilities of all."""
    if not predictions:
        return []
    follows = np.asarray([prediction.value for prediction in predictions], dtype=np.float64)
    table = follows.reshape(-1, max(1, len(head.labels)))
    return [
        Prediction(value=best, label=head.labels[best], probabilities=tuple(row.tolist()))
        for best, row in zip(table.argmax(axis=1).tolist(), scores.softmax(table), strict=True)
    ]


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; one row of logits a piece."""
    return texts.export_spec(config, processor, head)
