"""Tiny rerankers and their rows."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tiny

IDENTITY = "torch.nn.modules.linear.Identity"


def queries(count: int, seed: int, documents: int = 4) -> list[dict[str, Any]]:
    """Which of a query's documents has a good word in it? Query texts repeat, and their ids do not."""
    source = random.Random(seed)
    rows = []
    for number in range(count):
        good = source.randrange(documents)
        text = f"the {source.choice(tiny.WORDS_PLAIN)} {source.choice(tiny.WORDS_PLAIN)}"
        for place in range(documents):
            mood = tiny.WORDS_GOOD if place == good else tiny.WORDS_BAD
            words = [*source.sample(tiny.WORDS_PLAIN, source.randint(2, 6)), *source.sample(mood, 2)]
            document = " ".join(source.sample(words, len(words)))
            rows.append(
                {
                    "query": text,
                    "document": document,
                    "label": int(place == good),
                    "query_id": f"{seed}/{number}",
                }
            )
    return rows


def data(folder: Path, train: int, evaluate: int) -> Path:
    """Queries to train on and to measure on."""
    tiny.write_jsonl(folder / "train.jsonl", queries(train, 1))
    tiny.write_jsonl(folder / "validation.jsonl", queries(evaluate, 2))
    return folder


def cross_encoder(folder: Path) -> Path:
    """One output with random weights, marked as sentence-transformers marks it."""
    tiny.text_model(folder)
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(folder, num_labels=1)
    config.problem_type = None
    config.sentence_transformers = {"activation_fn": IDENTITY, "version": "5.2.0"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder
