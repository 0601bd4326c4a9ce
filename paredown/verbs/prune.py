"""The verb prune: heads, neurons and layers that matter least are cut away."""

from __future__ import annotations

from paredown.verbs._stage import stage_verb

prune = stage_verb(
    "prune",
    "prune",
    ("model", "Fine-tuned model: a folder, artifact or hub id."),
    "pruned",
    ("keep", "heads", "ffn", "layers", "criterion", "scope", "round_to", "rounds", "rows", "reconstruct"),
    "Cut attention heads, FFN neurons or layers, and recover.",
)
