"""Channels of convolutional networks: which can go, that a cut is exact, what is refused, the stage."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import tiny_images
import torch
from torch import nn

from compress import catalog
from compress.artifacts.store import Store
from compress.errors import ModelError, RecipeError
from compress.model import checkpoint
from compress.pipeline import building
from compress.pruning import channels, signals, surgery
from compress.recipe import DataConfig
from compress.tasks import Batch
from compress.tasks import image_classification as task

FIRST = "resnet.encoder.stages.0.layers.0.layer.0.convolution"


@pytest.fixture(scope="module")
def resnet() -> Any:
    """A tiny residual network."""
    return tiny_images.model("resnet")


@pytest.fixture(scope="module")
def mobilenet() -> Any:
    """A tiny network of inverted bottlenecks."""
    return tiny_images.model("mobilenet_v2")


def _images(count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(pixel_values=_images()).logits
    return logits


def test_the_inner_channels_of_residual_blocks_can_go(resnet: Any) -> None:
    """One convolution of each block; stems, residual streams and shortcuts are summed and stay."""
    parts = channels.channels_of(resnet)
    assert [(part.name.removeprefix("resnet.encoder."), part.units) for part in parts] == [
        ("stages.0.layers.0.layer.0.convolution", 16),
        ("stages.0.layers.1.layer.0.convolution", 16),
        ("stages.1.layers.0.layer.0.convolution", 32),
        ("stages.1.layers.1.layer.0.convolution", 32),
    ]
    # A channel of the first: a filter of 16 * 9, a batch norm's two, and 16 * 9 weights of what takes it.
    assert parts[0].unit_parameters == 16 * 9 + 2 + 16 * 9


def test_depthwise_convolutions_go_with_the_channels_that_they_pass_on(mobilenet: Any) -> None:
    """In an inverted bottleneck the expansion, its depthwise convolution, and two batch norms."""
    parts = {part.name: part for part in channels.channels_of(mobilenet)}
    part = parts["mobilenet_v2.layer.1.expand_1x1.convolution"]
    assert [row.groups for row in part.rows] == [1, 48]
    assert len(part.norms) == 2
    cut = copy.deepcopy(mobilenet)
    channels.cut(cut, {part.name: range(24)})
    assert cut.mobilenet_v2.layer[1].conv_3x3.convolution.groups == 24
    assert _logits(cut).shape == (3, tiny_images.CLASSES)


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2"])
def test_cutting_channels_that_give_zero_changes_nothing(family: str, resnet: Any, mobilenet: Any) -> None:
    """The last batch norm of some channels gives zero: without them the answers are the same."""
    model = copy.deepcopy({"resnet": resnet, "mobilenet_v2": mobilenet}[family])
    units = {}
    for part in channels.channels_of(model):
        last = part.norms[-1]
        with torch.no_grad():
            last.weight[1::2] = 0
            last.bias[1::2] = 0
        units[part.name] = list(range(0, part.units, 2))
    before, parameters = _logits(model), surgery.parameter_count(model)
    channels.cut(model, units)
    torch.testing.assert_close(_logits(model), before, atol=1e-4, rtol=1e-4)
    assert surgery.parameter_count(model) < 0.7 * parameters


def test_a_cut_network_comes_back_from_disk(resnet: Any, tmp_path: Path) -> None:
    """Widths that the configuration cannot say are in ``shapes.json``."""
    model = copy.deepcopy(resnet)
    channels.cut(model, {FIRST: range(9)})
    checkpoint.save(model, tmp_path, source=None)
    again = checkpoint.load(tmp_path, task)
    assert again.get_submodule(FIRST).out_channels == 9
    torch.testing.assert_close(_logits(again), _logits(model))


@pytest.mark.parametrize("name", ["magnitude", "taylor", "fisher", "activation"])
def test_every_criterion_ranks_a_dead_channel_last(name: str, resnet: Any) -> None:
    """Signals of maps are taken by channel: what is never on scores lowest."""
    model = copy.deepcopy(resnet)
    dead = 5
    with torch.no_grad():
        for part in channels.channels_of(model):
            part.norms[-1].weight[dead] = part.norms[-1].bias[dead] = 0
            part.rows[0].weight[dead] = 0
            part.columns.weight[:, dead] = 0
    criterion = catalog.criterion(name)
    batch = SimpleNamespace(
        inputs={"pixel_values": _images(4)}, labels=torch.tensor([0, 1, 2, 3]), arrays=Batch({}, None)
    )
    parts = channels.channels_of(model)
    collected = signals.collect(
        model,
        parts,
        [batch],  # type: ignore[list-item]
        criterion.NEEDS,
        loss=lambda outputs, labels, batch: nn.functional.cross_entropy(outputs["logits"], labels),
    )
    for part in parts:
        scores = criterion.score(
            part.structure(), collected[part.name], criterion.Config(), torch.Generator().manual_seed(0)
        )
        assert scores.shape == (part.units,)
        assert int(scores.argmin()) == dead


def test_fisher_of_channels_is_the_derivative_of_their_masks(resnet: Any) -> None:
    """By finite differences: the loss of one image as a channel is turned down a little."""
    model = copy.deepcopy(resnet)
    images, label = _images(1), torch.tensor([2])
    part = channels.channels_of(model)[0]
    batch = SimpleNamespace(inputs={"pixel_values": images}, labels=label, arrays=Batch({}, None))
    collected = signals.collect(
        model,
        [part],
        [batch],  # type: ignore[list-item]
        frozenset({"fisher"}),
        loss=lambda outputs, labels, batch: nn.functional.cross_entropy(outputs["logits"], labels),
    )
    fisher = collected[part.name].fisher
    assert fisher is not None
    largest, step = int(fisher.argmax()), 1e-3

    def loss(change: float) -> float:
        with torch.no_grad():
            part.columns.weight[:, largest] *= 1 + change
            value = nn.functional.cross_entropy(model(pixel_values=images).logits, label).item()
            part.columns.weight[:, largest] /= 1 + change
        return value

    slope = (loss(step) - loss(-step)) / (2 * step)
    assert float(fisher[largest]) == pytest.approx(slope**2, rel=3e-2)


def test_a_network_whose_channels_are_coupled_is_refused_with_what_helps() -> None:
    """Groups of a RegNet couple nearly all of them."""
    with pytest.raises(
        ModelError, match=r"RegNet.*cannot be pruned: only .* % .*'paredown quantize'.*distill"
    ):
        channels.channels_of(tiny_images.model("regnet"))


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The network in a folder, and labelled images."""
    root = tmp_path_factory.mktemp("channels")
    folder = tiny_images.artifact(root / "model", "resnet").path
    rows = [
        {"image": row["image"].tolist(), "label": f"class {i % tiny_images.CLASSES}"}
        for i, row in enumerate(tiny_images.rows(40))
    ]
    (root / "data").mkdir()
    tiny.write_jsonl(root / "data" / "train.jsonl", rows)
    return SimpleNamespace(folder=folder, data=DataConfig(source=str(root / "data")))


def _prune(subject: SimpleNamespace, store: Path, **options: Any) -> Any:
    return building.run_stage(
        "prune", subject.folder, options=options, data_config=subject.data, store=Store(store), threads=1
    )


def test_the_stage_cuts_channels_and_recovers(subject: SimpleNamespace, tmp_path: Path) -> None:
    """In two rounds half of the channels go; what is left of each is recorded."""
    built = _prune(
        subject, tmp_path, keep=0.5, rounds=2, scope="uniform", recover={"epochs": 1, "precision": "fp32"}
    )
    facts = built.manifest.facts
    assert [entry["channels"] for entry in facts["kept"]] == [8, 8, 16, 16]
    assert facts["parameters"]["after"] < 0.6 * facts["parameters"]["before"]
    assert len(facts["rounds"]) == 2
    model = checkpoint.load(built.path, task)
    assert [part.units for part in channels.channels_of(model)] == [8, 8, 16, 16]


def test_options_of_transformers_are_refused(subject: SimpleNamespace, tmp_path: Path) -> None:
    """Heads, neurons, layers and their reconstruction are none of a network of convolutions."""
    for options in (
        {"heads": 0.5},
        {"layers": 0.5},
        {"reconstruct": True},
        {"recover": {"hidden_weight": 1}},
    ):
        with pytest.raises(RecipeError, match="mean something in transformers alone"):
            _prune(subject, tmp_path, **options)
