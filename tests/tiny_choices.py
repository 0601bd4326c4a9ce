"""Tiny models that pick one of several texts, and rows whose right choice is the lovely one."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import tiny

SIZES: dict[str, Any] = {
    "vocab_size": len(tiny.vocabulary()),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 70,
}
FAMILIES = ("Bert", "Roberta", "DistilBert", "Electra", "Albert")


def questions(count: int, seed: int, *, context: bool = False) -> list[dict[str, Any]]:
    """Rows of two to four choices; the right one has the word lovely in it."""
    source = random.Random(seed)
    rows = []
    for row in tiny.sentences(count, seed):
        words = str(row["text"]).split()
        nouns = [word for word in words if word != "lovely"] or ["film"]
        choices = [
            f"{source.choice(('cold', 'dull', 'ugly'))} {source.choice(nouns)}"
            for _ in range(source.randint(2, 4))
        ]
        label = source.randrange(len(choices))
        choices[label] = f"lovely {source.choice(nouns)}"
        rows.append(
            {"question": " ".join(words), "choices": choices, "label": label}
            | ({"context": str(row["text"])} if context else {})
        )
    return rows


def write(folder: Path, *, train: int = 240, evaluate: int = 96) -> Path:
    """A folder with train.jsonl and validation.jsonl."""
    tiny.write_jsonl(folder / "train.jsonl", questions(train, 1))
    tiny.write_jsonl(folder / "validation.jsonl", questions(evaluate, 2))
    return folder


def model(folder: Path, family: str = "Bert", *, seed: int = 0) -> Path:
    """A model of transformers' own class with random weights, as ``save_pretrained`` leaves it."""
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(**SIZES, pad_token_id=0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = getattr(transformers, f"{family}ForMultipleChoice")(config)
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    if family in ("Roberta", "DistilBert"):
        file = folder / "tokenizer_config.json"
        content = json.loads(file.read_text()) | {"model_input_names": ["input_ids", "attention_mask"]}
        file.write_text(json.dumps(content))
    return folder
