"""The verb distill: a smaller student learns from the model."""

from __future__ import annotations

from paredown.verbs._stage import stage_verb

distill = stage_verb(
    "distill",
    "distill",
    ("teacher", "Fine-tuned model: a folder, artifact or hub id."),
    "distilled",
    (
        "layers",
        "student",
        "epochs",
        "steps",
        "batch_size",
        "learning_rate",
        "temperature",
        "task_weight",
        "logits_weight",
        "precision",
        "control",
    ),
    "Train a smaller student to say what the teacher says.",
)
