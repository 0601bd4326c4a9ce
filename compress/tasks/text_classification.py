"""Texts or pairs of texts: one label, several labels, or a number.

Columns are ``text``, for pairs ``text_pair``, and ``label``. A pair that is too long is cut from its
longer text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.tasks import Batch, Column, ExportSpec, Head, Row
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
from compress.tasks._tokenizers import load_tokenizer as load_processor

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


def _texts(rows: Sequence[Row]) -> tuple[list[str], list[str] | None]:
    firsts = [row["text"] for row in rows]
    return firsts, [row["text_pair"] for row in rows] if rows and "text_pair" in rows[0] else None


def lengths(rows: Sequence[Row], processor: Any) -> np.ndarray:
    """Tokens of each row before truncation, specials included."""
    if not rows:
        return np.zeros(0, dtype=np.int64)
    return tokenizers.token_counts(
        tokenizers.encoded(processor, *_texts(rows), truncation=False, verbose=False)
    )


def encode(
    rows: Sequence[Row], processor: Any, head: Head, max_length: int | None, *, labelled: bool = True
) -> Batch:
    """Token arrays padded to the longest row; pairs are cut from their longer side."""
    encoded = tokenizers.encoded(
        processor,
        *_texts(rows),
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
