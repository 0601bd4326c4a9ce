"""Tokenizer and embedding are compared when a model is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GPT2Config, GPT2ForSequenceClassification

from compress.errors import ModelError
from compress.model import vocabulary


class _Tokenizer:
    pad_token_id = 3

    def __init__(self, size: int) -> None:
        self._size = size

    def get_vocab(self) -> dict[str, int]:
        return {f"w{i}": i for i in range(self._size)}


def _model() -> Any:
    return GPT2ForSequenceClassification(
        GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)
    )


def test_a_model_without_a_padding_id_takes_the_tokenizers() -> None:
    """GPT-2 classifiers take batches only where the padding id is known."""
    model = _model()
    vocabulary.fit(model, _Tokenizer(10), "here")
    assert model.config.pad_token_id == 3


def test_ids_beyond_the_embedding_are_refused_with_counts() -> None:
    """The sentence names both counts, one token and the remedy."""
    with pytest.raises(ModelError, match=r"12 tokens and the model's embedding 10 rows, so 2 .*resize"):
        vocabulary.fit(_model(), _Tokenizer(12), "here")
