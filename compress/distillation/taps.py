"""Reading what happens inside a model: its outputs, hidden states, and queries, keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from compress.model.layers import attention_linears, find_stack

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Want:
    """What to read besides the outputs.

    Attributes:
        hidden: layers (1-based, as in ``hidden_states``) whose output is read.
        relations: the layer (1-based) whose queries, keys and values are read, or None.
    """

    hidden: tuple[int, ...] = ()
    relations: int | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to read."""
        return bool(self.hidden) or self.relations is not None


class Tap:
    """Runs a model and keeps what was asked for.

    Queries, keys and values are caught by hooks on their Linears, which also work when the model is
    called through a wrapper (DistributedDataParallel). Of an attention that takes the weights of its Linears
    and calls none (WavLM's), they are computed from what enters it.
    """

    def __init__(self, model: PreTrainedModel, want: Want) -> None:
        """Find what is to be read.

        Raises:
            ModelError: relations are wanted and the layers have no separate queries, keys, values.
        """
        self._want = want
        self._linears: tuple[nn.Linear, ...] = ()
        self._owners: dict[nn.Linear, nn.Module] = {}
        if want.relations is not None:
            layer = find_stack(model).layers[want.relations - 1]
            self._linears = attention_linears(layer)
            self._owners = {
                child: module
                for module in layer.modules()
                for child in module.children()
                if child in self._linears
            }

    def run(self, model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> tuple[Any, list[torch.Tensor]]:
        """The model's outputs, and the wanted states in order, each [batch, length, width].

        Args:
            model: the tapped model, or a wrapper of it.
            inputs: its inputs.
        """
        with self._caught() as caught, _every_layer(model if self._linears else None):
            extra = {"output_hidden_states": True} if self._want.hidden else {}
            outputs = model(**inputs, **extra)
        states = [outputs["hidden_states"][layer] for layer in self._want.hidden]
        for linear, owner in self._owners.items():
            if linear not in caught:
                caught[linear] = linear(caught[owner])
        return outputs, states + [caught[linear] for linear in self._linears]

    @contextmanager
    def _caught(self) -> Iterator[dict[nn.Module, torch.Tensor]]:
        caught: dict[nn.Module, torch.Tensor] = {}

        def keep(module: nn.Module, _: Any, output: torch.Tensor) -> None:
            caught[module] = output

        def keep_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            caught[module] = args[0] if args else kwargs["hidden_states"]

        handles = [linear.register_forward_hook(keep) for linear in self._linears]
        handles += [
            owner.register_forward_pre_hook(keep_input, with_kwargs=True)
            for owner in dict.fromkeys(self._owners.values())
        ]
        try:
            yield caught
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def _every_layer(model: nn.Module | None) -> Iterator[None]:
    """No layer is left out by chance (LayerDrop, Fan et al. 2020): what happens inside one is wanted.

    Models of sounds leave layers out in training; the number is in the model's configuration or in the module
    that holds the layers.
    """
    modules = [] if model is None else list(model.modules())
    holders: list[Any] = [module for module in modules if "layerdrop" in vars(module)]
    configs = {id(config): config for m in modules if (config := getattr(m, "config", None)) is not None}
    holders += [config for config in configs.values() if "layerdrop" in vars(config)]
    before = [holder.layerdrop for holder in holders]
    for holder in holders:
        holder.layerdrop = 0.0
    try:
        yield
    finally:
        for holder, rate in zip(holders, before, strict=True):
            holder.layerdrop = rate


def flatten(states: Sequence[torch.Tensor], mask: torch.Tensor | None) -> torch.Tensor:
    """States side by side over real tokens only, [tokens, sum of widths], row by row."""
    flat = [s.reshape(-1, s.shape[-1]) if mask is None else s[mask] for s in states]
    return torch.cat([f.float() for f in flat], dim=-1)


def unflatten(flat: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The inverse of ``flatten`` for one width: [batch, length, width], zeros where nothing is real."""
    full = flat.new_zeros((*mask.shape, flat.shape[-1]))
    full[mask] = flat
    return full
