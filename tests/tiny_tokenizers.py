"""Tokenizers of every algorithm, trained in the test on a small made-up text, and models that read them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

STEMS = ("wander", "gather", "lantern", "river", "mountain", "silver", "quiet", "winter", "garden", "harbour")
ENDS = ("", "s", "ing", "ed", "er", "ness", "ful", "less")
OTHERS = ("zucker", "kuchen", "straßen", "fahrer", "abend", "morgen", "fenster", "brücken")


def texts(count: int, seed: int, stems: tuple[str, ...] = STEMS) -> list[str]:
    """Sentences of made-up words, so that a small vocabulary has pieces of several lengths."""
    source = random.Random(seed)
    return [
        " ".join(source.choice(stems) + source.choice(ENDS) for _ in range(source.randrange(3, 9)))
        for _ in range(count)
    ]


def corpus() -> list[str]:
    """What the tokenizers are trained on: two languages, of which a model may need one."""
    return texts(400, 1) + texts(400, 2, OTHERS)


def wordpiece() -> Tokenizer:
    """As BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=260, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", tokenizer.token_to_id("[SEP]")), ("[CLS]", tokenizer.token_to_id("[CLS]"))
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_level_bpe() -> Tokenizer:
    """As RoBERTa's: bytes, merges, a padding token that is not the first one, a mask after all pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=480,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.TemplateProcessing(
                single="<s> $A </s>",
                pair="<s> $A </s> </s> $B </s>",
                special_tokens=[("<s>", 0), ("</s>", 2)],
            ),
            processors.ByteLevel(trim_offsets=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def unigram() -> Tokenizer:
    """As XLM-R's: scores, an unknown piece by its place, a mask after all pieces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=260,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


BUILD: dict[str, Callable[[], Tokenizer]] = {
    "WordPiece": wordpiece,
    "BPE": byte_level_bpe,
    "Unigram": unigram,
}


@cache
def written(algorithm: str) -> str:
    """A tokenizer's file; trained once, since two trainings may order ids otherwise."""
    return BUILD[algorithm]().to_str()


def read(algorithm: str) -> Tokenizer:
    """A tokenizer of an algorithm."""
    return Tokenizer.from_str(written(algorithm))


def save(tokenizer: Tokenizer, folder: Path) -> Any:
    """The tokenizer as transformers saves one of no class of its own."""
    from transformers import PreTrainedTokenizerFast

    square = tokenizer.token_to_id("[PAD]") is not None
    names = (
        ("[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]")
        if square
        else ("<s>", "</s>", "<pad>", "<unk>", "<mask>")
    )
    fields = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **dict(zip(fields, names, strict=True))
    )
    fast.save_pretrained(folder)
    return fast


def classifier(folder: Path, algorithm: str) -> Path:
    """A tiny classifier of random weights and its tokenizer, as ``save_pretrained`` leaves them."""
    import torch
    import transformers

    fast = save(read(algorithm), folder)
    family = {"WordPiece": "bert", "BPE": "roberta", "Unigram": "xlm-roberta"}[algorithm]
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=80,
        pad_token_id=fast.pad_token_id,
        bos_token_id=fast.cls_token_id,
        eos_token_id=fast.sep_token_id,
        problem_type="single_label_classification",
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder
