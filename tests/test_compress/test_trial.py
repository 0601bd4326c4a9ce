"""One image through a model when it is read: it must take what its processor gives, and name its outputs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import transformers

from compress.errors import ModelError
from compress.model import trial
from compress.tasks import Head, image_classification

_PROCESSOR = image_classification.default_processor(SimpleNamespace(image_size=32, num_channels=3))


def _pvt(**names: Any) -> transformers.PvtConfig:
    return transformers.PvtConfig(
        image_size=32,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        mlp_ratios=[1, 1, 1, 1],
        **names,
    )


def test_outputs_without_names_are_refused_where_the_model_is_read() -> None:
    """PVT counts its outputs in a field of its own: 1,000 beside two names were exported and never opened."""
    model = transformers.PvtForImageClassification(_pvt(id2label={0: "cat", 1: "dog"})).eval()
    with pytest.raises(ModelError, match=r"gives 1000 numbers a row, and id2label .* has 2 names: name all"):
        trial.run(model, image_classification, _PROCESSOR)


def test_a_new_head_has_the_outputs_that_it_names() -> None:
    """Also where the configuration counts them apart from their names."""
    config = _pvt()
    image_classification.configure(config, Head(problem="single_label", labels=("cat", "dog", "owl")))
    model = transformers.PvtForImageClassification(config).eval()
    trial.run(model, image_classification, _PROCESSOR)
    assert model.classifier.out_features == 3
    assert config.id2label == {0: "cat", 1: "dog", 2: "owl"}
