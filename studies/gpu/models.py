"""Models of given sizes with random weights, and rows for them: what only times are taken of.

Everything follows from a seed, so that it need not be carried to another machine.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from studies.gpu.plan import Sizes

SEED = 0
LABELS = ("negative", "positive")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_TRAINING_ROWS, _EVALUATION_ROWS = 64, 32
_LONGEST_ROW = 24


def classifier(sizes: Sizes, folder: Path) -> None:
    """Write a BERT classifier of two labels with its tokenizer, as ``save_pretrained`` leaves it.

    Args:
        sizes: of the encoder.
        folder: to write.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
        max_position_embeddings=sizes.positions,
        problem_type="single_label_classification",
        id2label=dict(enumerate(LABELS)),
        label2id={name: index for index, name in enumerate(LABELS)},
    )
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        BertForSequenceClassification(config).save_pretrained(folder)
    _tokenizer(sizes, folder)


def _tokenizer(sizes: Sizes, folder: Path) -> None:
    """A tokenizer of one token a word, for the words of ``rows``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*_SPECIAL, *(f"w{index}" for index in range(len(_SPECIAL), sizes.vocabulary))]
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=sizes.positions,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)


def rows(vocabulary: int, folder: Path) -> None:
    """Write training and evaluation rows of drawn words with drawn labels.

    Args:
        vocabulary: of the smallest model that reads them.
        folder: to write.
    """
    draw = random.Random(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", _TRAINING_ROWS), ("validation", _EVALUATION_ROWS)):
        lines = []
        for index in range(count):
            length = draw.randrange(4, min(_LONGEST_ROW, vocabulary // 2))
            words = [f"w{draw.randrange(len(_SPECIAL), vocabulary)}" for _ in range(length)]
            lines.append(json.dumps({"text": " ".join(words), "label": LABELS[index % len(LABELS)]}) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
