"""A tiny model of natural language inference, and rows whose label is the mood that a text has more of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny

MOODS = ("dull", "lovely")
NAMES = ("contradiction", "neutral", "entailment")


def moods(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of ``tiny.sentences``, whose labels are words."""
    return [
        {"text": row["text"], "label": MOODS[int(str(row["label"]))]} for row in tiny.sentences(count, seed)
    ]


def write(folder: Path, *, train: int = 240, evaluate: int = 48) -> Path:
    """A folder with train.jsonl and validation.jsonl."""
    tiny.write_jsonl(folder / "train.jsonl", moods(train, 1))
    tiny.write_jsonl(folder / "validation.jsonl", moods(evaluate, 2))
    return folder


def model(folder: Path, names: tuple[str, ...] = NAMES, *, seed: int = 0) -> Path:
    """A BERT of inference with random weights, as ``save_pretrained`` leaves it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertForSequenceClassification(config)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder
