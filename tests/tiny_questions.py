"""Tiny rows of questions about texts: which mood does the text name, if any?"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tiny

MOODS = {"good": tiny.WORDS_GOOD, "bad": tiny.WORDS_BAD}


def questions(
    count: int, seed: int, *, long: int = 30, unanswerable: float = 0.0, other: bool = True
) -> list[dict[str, Any]]:
    """Rows whose answer is the only word of the asked mood, beside a word of the other one.

    Args:
        count: rows.
        seed: of the texts.
        long: most words of a context.
        unanswerable: share of rows whose context has no word of the asked mood.
        other: whether each context has a word of the other mood, which makes it hard.
    """
    source = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        mood, opposite = source.sample(sorted(MOODS), 2)
        words = source.choices(tiny.WORDS_PLAIN, k=source.randrange(5, long))
        if other:
            words.insert(source.randrange(len(words) + 1), source.choice(MOODS[opposite]))
        answer = source.choice(MOODS[mood])
        asked = source.random() >= unanswerable
        if asked:
            words.insert(source.randrange(len(words) + 1), answer)
        context = " ".join(words)
        start = f" {context} ".find(f" {answer} ")
        rows.append(
            {
                "question": f"the {mood}",
                "context": context,
                "answers": {"text": [answer] * asked, "answer_start": [start] * asked},
            }
        )
    return rows


def write(folder: Path, *, train: int = 240, evaluate: int = 40, unanswerable: float = 0.0) -> Path:
    """A folder with train.jsonl, selection.jsonl and validation.jsonl."""
    tiny.write_jsonl(folder / "selection.jsonl", questions(evaluate, 3, unanswerable=unanswerable))
    tiny.write_jsonl(folder / "train.jsonl", questions(train, 1, unanswerable=unanswerable))
    tiny.write_jsonl(folder / "validation.jsonl", questions(evaluate, 2, unanswerable=unanswerable))
    return folder


def model(folder: Path, *, seed: int = 0, thresholds: list[float] | None = None) -> Path:
    """A BERT for question answering with random weights, as ``save_pretrained`` leaves it."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    config = BertConfig(
        vocab_size=len(tiny.vocabulary()),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    if thresholds is not None:
        config.decision_thresholds = thresholds
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = BertForQuestionAnswering(config)
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tiny.save_tokenizer(folder)
    return folder
