"""Tokenizer files of wrong types are refused by name; types of tokens reach the models that take them."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import transformers

from compress.errors import ModelError
from compress.model import architecture
from compress.tasks import _tokenizers as tokenizers
from compress.tasks import text_classification


def _change(folder: Path, name: str, **fields: Any) -> Path:
    file = folder / name
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(content | fields))
    return folder


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("tokenizer_config.json", "model_max_length", "text"),
        ("tokenizer_config.json", "model_max_length", 1.5),
        ("tokenizer_config.json", "model_max_length", 0),
        ("tokenizer_config.json", "model_max_length", True),
        ("tokenizer_config.json", "padding_side", "middle"),
        ("tokenizer_config.json", "truncation_side", 3),
        ("tokenizer_config.json", "pad_token", [1]),
        ("special_tokens_map.json", "cls_token", {"lstrip": False}),
        ("added_tokens.json", "[NEW]", -1),
        ("added_tokens.json", "[NEW]", "3"),
    ],
)
def test_a_wrong_type_is_named(text_model: Path, name: str, field: str, value: Any) -> None:
    """With the file, what it holds and what is allowed."""
    _change(text_model, name, **{field: value})
    with pytest.raises(ModelError, match=rf"{name}: .*{field.strip('[]')}.* allowed is"):
        text_classification.load_processor(text_model)


@pytest.mark.parametrize("value", [None, 32, 10**30, 1e30])
def test_every_way_to_say_no_limit_is_taken(text_model: Path, value: Any) -> None:
    """As transformers has written them over the years."""
    _change(text_model, "tokenizer_config.json", model_max_length=value)
    assert text_classification.load_processor(text_model).pad_token_id == 0


def test_types_of_tokens_are_kept_for_models_that_take_them_without_a_table(tmp_path: Path) -> None:
    """XLM looks them up among its words, so that leaving them out gives another answer than transformers."""
    config = transformers.XLMConfig(
        vocab_size=len(tiny.vocabulary()), emb_dim=32, n_layers=1, n_heads=2, max_position_embeddings=64
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.XLMForSequenceClassification(config).save_pretrained(tmp_path)
    tiny.save_tokenizer(tmp_path)
    tokenizer = text_classification.load_processor(tmp_path)
    assert tokenizers.input_names(tokenizer) == ("input_ids", "attention_mask", "token_type_ids")
    assert np.asarray(tokenizer(["good"])["token_type_ids"]).shape == (1, 3)


@pytest.mark.parametrize("name", sorted(tokenizers._TYPES_WITHOUT_TABLE))
def test_the_models_that_take_types_without_a_table_do(name: str) -> None:
    """By the signature of transformers' own class."""
    config = transformers.CONFIG_MAPPING[name]()
    cls = architecture.model_class(config, text_classification)
    assert not hasattr(config, "type_vocab_size")
    assert "token_type_ids" in inspect.signature(cls.forward).parameters


def test_a_second_class_of_an_architecture_has_its_task(tmp_path: Path) -> None:
    """DeiT has a class with a distilled teacher and one without; optimum knows one of them."""
    content = {"model_type": "deit", "architectures": ["DeiTForImageClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert architecture.infer_task(tmp_path) == "image-classification"
