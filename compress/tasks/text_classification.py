"""Texts or pairs of texts: one label, several labels, or a number.

Columns are ``text``, for pairs ``text_pair``, and ``label``. A pair that is too long is cut from its
longer text. A configuration may describe a vector of the text and a classifier on it, as SetFit has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError
from compress.reading import json_values
from compress.tasks import Batch, Column, ExportSpec, Head, Row, Task
from compress.tasks import _embedding as embedding
from compress.tasks import _embedding_texts as embedding_texts
from compress.tasks import _setfit as setfit
from compress.tasks import _tokenizers as tokenizers
from compress.tasks._classification import (
    LABEL,
    LABEL_ALIASES,
    METRICS,
    align,
    blind,
    decided,
    decode,
    fitted,
    infer_head,
    link,
    loss,
    metrics,
    positions,
    reference,
    statistics,
    targets,
)
from compress.tasks._heads import configure, head_of
from compress.tasks._tokenizers import default_processor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "LABEL",
    "METRICS",
    "align",
    "blind",
    "configure",
    "decided",
    "decode",
    "default_processor",
    "fitted",
    "head_of",
    "infer_head",
    "link",
    "load_processor",
    "loss",
    "metrics",
    "positions",
    "reference",
    "statistics",
]

MODEL = "AutoModelForSequenceClassification"
COLUMNS = {
    "text": Column(
        required=True,
        aliases=(
            "sentence",
            "sentence1",
            "question1",
            "premise",
            "review",
            "content",
            "comment",
            "tweet",
            "query",
            "utterance",
        ),
        holds="text",
    ),
    "text_pair": Column(required=False, aliases=("sentence2", "question2", "hypothesis"), holds="text"),
    "label": Column(required=False, aliases=LABEL_ALIASES, holds="label"),
}
OUTPUTS = ("logits",)
BY_CLASS = True


def is_made_for(config: Mapping[str, Any]) -> str | None:
    """The field by which an encoder has a classifier on the vector of a text."""
    return embedding.CLASSIFIER if embedding.CLASSIFIER in config else None


def model_class(config: Any) -> type[PreTrainedModel] | None:
    """The encoder with pooling and a classifier on the vector, where the configuration describes one."""
    if getattr(config, embedding.CLASSIFIER, None) is None:
        return None
    from compress.tasks import _embedding_model

    kind: type = type(config)
    return _embedding_model.classifier_class(kind)


def fields(
    folder: Path,
    content: Mapping[str, Any],
    options: Mapping[str, Any],
    head_of_data: Callable[[], Head | None],
) -> dict[str, Any]:
    """Nothing is open; what a SetFit folder is taken as is said."""
    if embedding.CLASSIFIER in content and setfit.is_folder(folder):
        setfit.say(folder, content)
    return Task.fields(folder, content, options, head_of_data)


def load_processor(folder: Path) -> Any:
    """The tokenizer; of a model with a vector it knows prompts, limit and case."""
    described = setfit.is_folder(folder) or _describes_vector(folder / embedding.CONFIG)
    return embedding_texts.load_tokenizer(folder) if described else tokenizers.load_tokenizer(folder)


def _describes_vector(file: Path) -> bool:
    content = json_values.read(file, error=ModelError) if file.is_file() else None
    return isinstance(content, dict) and embedding.CLASSIFIER in content


def _texts(rows: Sequence[Row], processor: Any) -> tuple[list[str], list[str] | None]:
    firsts = embedding_texts.texts(rows, "text", processor)
    return firsts, [row["text_pair"] for row in rows] if rows and "text_pair" in rows[0] else None


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row before truncation, specials included."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    return tokenizers.token_counts(
        tokenizers.encoded(processor, *_texts(rows, processor), truncation=False, verbose=False)
    )


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays padded to the longest row; pairs are cut from their longer side."""
    encoded = tokenizers.encoded(
        processor,
        *_texts(rows, processor),
        truncation=max_length is not None,
        max_length=max_length,
        padding=True,
        verbose=False,
    )
    cut = np.zeros(len(rows), dtype=bool)
    if max_length is not None:
        cut = tokenizers.truncated(encoded, lambda: lengths(rows, processor))
    labels = targets(rows, head) if labelled else None
    return Batch(inputs=tokenizers.arrays(encoded, processor), labels=labels, truncated=cut)


def export_spec(config: Mapping[str, Any], processor: Any, head: Head) -> ExportSpec:
    """Free batch and sequence axes; one row of logits a row."""
    return ExportSpec(
        inputs={name: {0: "batch", 1: "sequence"} for name in tokenizers.input_names(processor)},
        outputs={"logits": {0: "batch"}},
        length_axis="sequence",
    )
