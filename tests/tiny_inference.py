"""A tiny model of natural language inference, and rows that say their label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny

MOODS = ("dull", "lovely")
NAMES = ("contradiction", "neutral", "entailment")


def moods(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows whose label is their first word."""
    rows = [(MOODS[i % 2], str(row["text"])) for i, row in enumerate(tiny.sentences(count, seed))]
    return [{"text": f"{mood} {' '.join(text.split()[:3])}", "label": mood} for mood, text in rows]


def write(folder: Path, *, train: int = 240, evaluate: int = 48) -> Path:
    """A folder with train.jsonl and validation.jsonl."""
    tiny.write_jsonl(folder / "train.jsonl", moods(train, 1))
    tiny.write_jsonl(folder / "validation.jsonl", moods(evaluate, 2))
    return folder


def model(folder: Path, names: tuple[str, ...] = NAMES, *, seed: int = 0) -> Path:
    """A BERT of inference with random weights, as ``save_pretrained`` leaves it.

    They are large, and nothing is dropped out: whether a hypothesis follows is said by no word alone, and
    from small weights so small a model does not find what two words say together.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertForSequenceClassification(config)
        for parameter in network.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder
