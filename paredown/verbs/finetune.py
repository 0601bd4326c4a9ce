"""The verb finetune: a base model learns labeled rows."""

from __future__ import annotations

from paredown.verbs._stage import stage_verb

finetune = stage_verb(
    "finetune",
    "finetune",
    ("base", "Base model: a folder or hub id."),
    "finetuned",
    (
        "epochs",
        "steps",
        "batch_size",
        "learning_rate",
        "schedule",
        "warmup",
        "precision",
        "freeze_embeddings",
        "keep",
        "head",
    ),
    "Fine-tune a base model on labeled rows.",
)
