"""Tiny but real models and data, built in milliseconds; nothing is downloaded."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS_GOOD = ("good", "fine", "lovely", "bright", "warm", "clever")
WORDS_BAD = ("bad", "dull", "ugly", "dark", "cold", "stupid")
WORDS_PLAIN = ("the", "a", "film", "story", "actor", "scene", "is", "was", "and", "very", "so", "ending")


def vocabulary() -> list[str]:
    """The word-level vocabulary of the tiny tokenizer."""
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS_GOOD, *WORDS_BAD, *WORDS_PLAIN]


def save_tokenizer(folder: Path) -> None:
    """A word-level BERT tokenizer over ``vocabulary``."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {word: i for i, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)


def text_model(
    folder: Path, *, layers: int = 2, hidden: int = 32, heads: int = 4, ffn: int = 64, seed: int = 0
) -> Path:
    """A BERT text classifier with random weights, as ``save_pretrained`` leaves it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        max_position_embeddings=64,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
        problem_type="single_label_classification",
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def answer(model: Path, data: Path) -> Path:
    """Label the evaluation rows as the model answers them, so that random weights are no chance baseline."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    file = data / "validation.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    with torch.inference_mode():
        for row in rows:
            logits = classifier(**tokenizer(row["text"], truncation=True, return_tensors="pt")).logits
            row["label"] = classifier.config.id2label[int(logits.argmax())]
    write_jsonl(file, rows)
    return data


def base_model(folder: Path, *, layers: int = 2) -> Path:
    """A BERT without a task's head, which any text task fine-tunes, as ``save_pretrained`` leaves it."""
    from transformers import BertForSequenceClassification

    text_model(folder, layers=layers)
    BertForSequenceClassification.from_pretrained(folder).bert.save_pretrained(folder)
    return folder


def sentences(count: int, seed: int) -> list[dict[str, object]]:
    """Rows whose label is the majority of good over bad words."""
    source = random.Random(seed)
    rows: list[dict[str, object]] = []
    while len(rows) < count:
        label = source.randrange(2)
        loaded = source.choices(WORDS_GOOD if label else WORDS_BAD, k=source.randrange(1, 4))
        words = loaded + source.choices(WORDS_PLAIN, k=source.randrange(2, 12))
        source.shuffle(words)
        rows.append({"text": " ".join(words), "label": label})
    return rows


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def text_data(folder: Path, *, train: int = 240, evaluate: int = 60) -> Path:
    """A folder with train.jsonl, validation.jsonl and labels.json."""
    write_jsonl(folder / "train.jsonl", sentences(train, 1))
    write_jsonl(folder / "validation.jsonl", sentences(evaluate, 2))
    (folder / "labels.json").write_text('["negative", "positive"]')
    return folder
