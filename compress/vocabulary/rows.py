"""The weights that have a row for each piece, found by asking what another vocabulary size changes.

A model is built from its configuration twice, with the old size and with the new one. Every parameter whose
shape differs has an axis of pieces: the table of embeddings, an output layer tied to it, the output's bias.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from compress.errors import ModelError
from compress.model import architecture, shapes
from compress.model.positions import OFFSET_POSITIONS
from compress.vocabulary import special_ids

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.tasks import Task


def fixed(config: PretrainedConfig) -> set[int]:
    """Ids that the configuration of a model names, and those whose place its positions count from."""
    ids = {number for _, number in special_ids.named(config.to_dict())}
    if config.model_type in OFFSET_POSITIONS and config.pad_token_id is not None:
        # Positions begin after the padding id, whatever row it has: it stays where it is.
        ids |= set(range(config.pad_token_id + 1))
    return ids


def cut(model: PreTrainedModel, task: Task, old_ids: Sequence[int]) -> None:
    """Take rows out of a model and move the ids of its configuration, in place.

    Args:
        model: on the CPU.
        task: names its class.
        old_ids: old ids in their order.

    Raises:
        ModelError: the model depends on its vocabulary in a way that cannot be cut.
    """
    before = _blank(model.config, task)
    config = _configured(model.config, old_ids)
    after = _blank(config, task)
    axes = _axes(before, after)
    index = torch.tensor(list(old_ids), dtype=torch.int64)
    fresh: dict[int, torch.Tensor] = {}
    for name, axis in axes.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        tensor = module.state_dict(keep_vars=True)[leaf]
        if tensor.shape[axis] != before.state_dict()[name].shape[axis]:
            raise ModelError(
                f"{name} has {tensor.shape[axis]} rows, and the configuration a vocabulary of "
                f"{model.config.vocab_size}: the model's folder is not whole; load it anew"
            )
        if id(tensor) not in fresh:  # what is tied stays tied
            rows = tensor.detach().index_select(axis, index)
            is_parameter = isinstance(tensor, nn.Parameter)
            fresh[id(tensor)] = (
                nn.Parameter(rows, requires_grad=tensor.requires_grad) if is_parameter else rows
            )
        setattr(module, leaf, fresh[id(tensor)])
    _take_integers(model, before, after)
    for field, value in _fields(model.config, old_ids).items():
        setattr(model.config, field, value)


def _blank(config: PretrainedConfig, task: Task) -> PreTrainedModel:
    """A build of a configuration whose weights are not filled."""
    from transformers.initialization import no_init_weights

    with no_init_weights():
        return architecture.build(config, task, "eager")


def _fields(config: PretrainedConfig, old_ids: Sequence[int]) -> dict[str, object]:
    """The fields of a configuration that change.

    Raises:
        ModelError: a field names an id that no piece has, and that a piece would get.
    """
    new_ids = {old: new for new, old in enumerate(old_ids)}
    for field, number in special_ids.named(config.to_dict()):
        if number not in new_ids and number < len(old_ids):
            raise ModelError(
                f"config.json names {number} as {field}, and no token of the tokenizer has that id: correct "
                "it, or save the tokenizer that the model was trained with"
            )
    return {**special_ids.moved(config.to_dict(), new_ids), "vocab_size": len(old_ids)}


def _configured(config: PretrainedConfig, old_ids: Sequence[int]) -> PretrainedConfig:
    fresh = copy.deepcopy(config)
    for field, value in _fields(config, old_ids).items():
        setattr(fresh, field, value)
    return fresh


def _axes(before: PreTrainedModel, after: PreTrainedModel) -> dict[str, int]:
    """Parameter or buffer -> its axis of pieces.

    Raises:
        ModelError: the size of the vocabulary changes something else.
    """
    old = {name: tensor.shape for name, tensor in before.state_dict().items()}
    new = {name: tensor.shape for name, tensor in after.state_dict().items()}
    sizes = (before.config.vocab_size, after.config.vocab_size)
    axes: dict[str, int] = {}
    for name in old.keys() | new.keys():
        if old.get(name) == new.get(name):
            continue
        places = _differing(old.get(name), new.get(name))
        if len(places) != 1 or (old[name][places[0]], new[name][places[0]]) != sizes:
            raise ModelError(
                f"{name} of a {type(before).__name__} depends on the size of the vocabulary in a way that "
                "cannot be cut: leave trim-vocabulary out for this model"
            )
        axes[name] = places[0]
    return dict(sorted(axes.items()))


def _differing(old: torch.Size | None, new: torch.Size | None) -> list[int]:
    if old is None or new is None or len(old) != len(new):
        return []
    return [axis for axis, (size, new_size) in enumerate(zip(old, new, strict=True)) if size != new_size]


def _take_integers(model: nn.Module, before: nn.Module, after: nn.Module) -> None:
    """Set what modules note of the vocabulary (the number of rows, the padding row) to what is true now."""
    fresh: Mapping[str, nn.Module] = dict(after.named_modules(remove_duplicate=False))
    modules: Mapping[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    for name, module in before.named_modules(remove_duplicate=False):
        then, now = shapes.integers(module), shapes.integers(fresh[name])
        for field, value in now.items():
            if then.get(field) != value and name in modules:
                setattr(modules[name], field, value)
