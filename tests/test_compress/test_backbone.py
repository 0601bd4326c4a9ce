"""A linear probe leaves the base model as it is, batch norms included, and trains what stands on it."""

from __future__ import annotations

import pytest
import tiny_images
import torch

from compress.errors import ModelError
from compress.training import backbone


def test_a_frozen_base_stays_byte_for_byte() -> None:
    """Neither weights nor running statistics move in training mode; the head does; flags come back."""
    model = tiny_images.model("resnet")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with backbone.frozen(model, True):
        model.train()
        assert not model.base_model.training
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        model(pixel_values=images, labels=torch.arange(8) % tiny_images.CLASSES).loss.backward()
        optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.train().base_model.training


def test_without_the_option_nothing_is_frozen() -> None:
    """Every weight learns, and the base is in training mode."""
    model = tiny_images.model("resnet")
    with backbone.frozen(model, False):
        assert model.train().base_model.training
        assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_without_a_head_of_its_own_has_nothing_to_train() -> None:
    """The sentence names the option."""
    with (
        pytest.raises(ModelError, match="freeze_backbone would leave nothing to train"),
        backbone.frozen(tiny_images.model("resnet").base_model, True),
    ):
        pass
