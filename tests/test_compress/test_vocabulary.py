"""Tokenizer and embedding are compared when a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2ForSequenceClassification

from compress import catalog
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


@pytest.mark.parametrize(
    "names", [["input_ids", ["x"]], ["input_ids", {}], ["input_ids", 3], ["x"], "input_ids"]
)
def test_names_of_inputs_that_the_tokenizer_does_not_give(text_model: Path, names: Any) -> None:
    """Each element is the name of an array of the tokenizer."""
    file = text_model / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_input_names": names}))
    with pytest.raises(ModelError, match=r"tokenizer"):
        catalog.load("task", "text-classification").load_processor(text_model)
