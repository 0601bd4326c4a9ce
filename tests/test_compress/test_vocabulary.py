"""Tokenizer and embedding are compared when a model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from compress import catalog
from compress.errors import ModelError
from compress.model import vocabulary


class _Tokenizer:
    pad_token_id, pad_token = 3, "w3"
    model_input_names = ("input_ids", "attention_mask")

    def __init__(self, size: int, ids: tuple[int, ...] = (4, 5)) -> None:
        self._size, self._ids = size, list(ids)

    def __call__(self, texts: str | list[str], **_: Any) -> dict[str, Any]:
        mask = [1] * len(self._ids)
        if isinstance(texts, str):
            return {"input_ids": self._ids, "attention_mask": mask}
        return {"input_ids": [self._ids], "attention_mask": [mask]}

    def get_vocab(self) -> dict[str, int]:
        return {f"w{i}": i for i in range(self._size)}


def _model() -> Any:
    config = GPT2Config(vocab_size=10, n_embd=8, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2ForSequenceClassification(config).eval()
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def test_a_model_without_a_padding_id_takes_the_tokenizers() -> None:
    """GPT-2 classifiers take batches only where the padding id is known."""
    model = _model()
    vocabulary.fit(model, _Tokenizer(10), "here")
    assert model.config.pad_token_id == 3


def test_a_padding_id_that_moves_the_answer_of_a_single_row_is_refused() -> None:
    """Without the id, the answer to a row that ends in it is read at its last token; with it, before."""
    model = _model()
    ids = torch.tensor([[4, 5, 3]])
    with torch.inference_mode():
        alone = model(input_ids=ids).logits
        model.config.pad_token_id = 3
        padded = model(input_ids=ids).logits
    model.config.pad_token_id = None
    assert not torch.allclose(alone, padded, atol=1e-4)
    with pytest.raises(ModelError, match=r"no pad_token_id, and the tokenizer pads with 'w3' \(3\)"):
        vocabulary.fit(model, _Tokenizer(10, (4, 5, 3)), "here")


def test_a_new_head_learns_with_whatever_padding_id_there_is() -> None:
    """Answers that nobody has seen cannot be moved."""
    model = _model()
    vocabulary.fit(model, _Tokenizer(10, (4, 5, 3)), "here", trained=False)
    assert model.config.pad_token_id == 3


def test_a_padding_id_in_front_moves_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Only where a row ends counts; that the id was taken is said."""
    model = _model()
    vocabulary.fit(model, _Tokenizer(10, (3, 4, 5)), "here")
    assert model.config.pad_token_id == 3
    assert "the tokenizer's is taken ('w3', 3)" in caplog.text


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
