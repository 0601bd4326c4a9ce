"""Models of sounds while they are trained: masks over time, layers left out, and what is read inside them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import tiny_audio
import torch
import transformers

from compress.distillation.taps import Tap, Want
from compress.model.layers import attention_linears, find_stack
from compress.training.time_masks import MaskSource, own_time_masks
from tools.tiny_families import build

SPAN = 10  # positions that transformers hide at once


def _sounds(samples: int) -> torch.Tensor:
    return torch.randn(4, samples, generator=torch.Generator().manual_seed(1))


def _masking(name: str) -> Any:
    """A tiny model that masks time in training and does nothing else by chance."""
    config = copy.deepcopy(tiny_audio.CONFIGS[name])
    config.mask_time_prob, config.mask_time_length = 0.5, SPAN
    config.hidden_dropout = config.attention_dropout = config.activation_dropout = 0.0
    config.feat_proj_dropout = config.final_dropout = 0.0
    torch.manual_seed(0)
    return transformers.AutoModelForAudioClassification.from_config(config).train()


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm"])
def test_sounds_shorter_than_a_span_are_heard_whole(name: str) -> None:
    """The library itself raises ValueError (`mask_length` has to be smaller than `sequence_length`)."""
    model = _masking(name)
    short = _sounds(3000)  # nine positions
    with pytest.raises(ValueError, match="mask_length"):
        model(short)
    with own_time_masks(model, MaskSource()):
        answer = model(short).logits
    assert torch.equal(answer, model.eval()(short).logits)
    assert "_mask_hidden_states" not in vars(model.base_model)


def test_masks_come_from_the_seed_of_a_step_and_leave_numpy_alone() -> None:
    """Two runs of one seed hide the same, another seed something else, whatever NumPy's generator holds."""
    model, sounds, source = _masking("wav2vec2"), _sounds(16_000), MaskSource()
    answers = []
    with own_time_masks(model, source):
        for seed, numpy_seed in ((1, 5), (1, 6), (2, 5)):
            np.random.seed(numpy_seed)
            before = np.random.get_state()[1].tolist()
            source.seed([seed])
            answers.append(model(sounds).logits)
            assert np.random.get_state()[1].tolist() == before
        whole = model.eval()(sounds).logits
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])
    assert not torch.equal(answers[0], whole)


def test_queries_of_an_attention_that_calls_no_linear_are_read() -> None:
    """WavLM takes the weights of its Linears; a student without them ended in a KeyError."""
    model = build("wavlm")
    sounds = _sounds(6400)
    outputs, states = Tap(model, Want(relations=2)).run(model, {"input_values": sounds})
    entering = model(sounds, output_hidden_states=True).hidden_states[1]
    query, key, value = attention_linears(find_stack(model).layers[1])
    for state, linear in zip(states, (query, key, value), strict=True):
        assert torch.allclose(state, linear(entering), atol=1e-6)
        assert state.requires_grad
    assert outputs.logits.shape == (4, 2)


@pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "whisper"])
def test_no_layer_is_left_out_where_its_inside_is_read(name: str) -> None:
    """A model in training with LayerDrop of nearly one skips its layers; nothing of them could be read."""
    model = build(name).train()
    model.config.layerdrop = 0.999
    model.config.apply_spec_augment = False
    for module in model.modules():
        if "layerdrop" in vars(module):
            module.layerdrop = 0.999
    inputs = {"input_values": _sounds(6400)}
    if name == "whisper":
        inputs = {"input_features": torch.randn(2, model.config.num_mel_bins, 100)}
    _, states = Tap(model, Want(relations=3)).run(model, inputs)
    assert len(states) == 3
    assert model.config.layerdrop == 0.999


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm"])
def test_convolutions_are_no_layers_where_there_are_as_many(name: str) -> None:
    """Three convolutions before three layers: the list of layers is the one that holds Linears."""
    model = build(name)
    assert len(model.base_model.feature_extractor.conv_layers) == model.config.num_hidden_layers
    assert find_stack(model).name.endswith("encoder.layers")
