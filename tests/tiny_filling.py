"""A tiny masked language model, and texts whose words go together: the mood of a text is in all its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny


def texts(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of ``tiny.sentences`` without their labels."""
    return [{"text": row["text"]} for row in tiny.sentences(count, seed)]


def write(folder: Path, *, train: int = 240, evaluate: int = 96) -> Path:
    """A folder with train.jsonl and validation.jsonl."""
    tiny.write_jsonl(folder / "train.jsonl", texts(train, 1))
    tiny.write_jsonl(folder / "validation.jsonl", texts(evaluate, 2))
    return folder


def model(folder: Path, *, seed: int = 0) -> Path:
    """A BERT with random weights that fills masks, as ``save_pretrained`` leaves it."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertForMaskedLM(config)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder
