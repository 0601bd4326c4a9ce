"""The verb trim: the pieces of the tokenizer that given text does not need go, with their embedding rows."""

from __future__ import annotations

from paredown.verbs._stage import stage_verb

trim = stage_verb(
    "trim",
    "trim-vocabulary",
    ("model", "Fine-tuned model: a folder, artifact or hub id."),
    "trimmed",
    ("text", "count", "pieces", "growth_at_most", "unknown_at_most"),
    "Cut the vocabulary to the pieces that text needs.",
)
