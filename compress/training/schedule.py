"""How fast which parameter learns: the course of the learning rate, and rates by depth.

    warm-up   m(s) = (s + 1) / w                              for s < w
    linear    m(s) = (T - s) / (T - w)                        for s >= w
    cosine    m(s) = (1 + cos(pi * (s - w) / (T - w))) / 2    for s >= w

with T steps in all, w of them warm-up, s counted from 0. Layer-wise decay (Howard & Ruder 2018;
Sun et al. 2019) multiplies layer l of L by d^(L - l); the embeddings are layer 0, the head L.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

Decay = Literal["linear", "cosine"]


def multiplier(decay: Decay, step: int, total: int, warmup: float) -> float:
    """The share of the peak learning rate at a step, above 0 and at most 1.

    Args:
        decay: the course after the warm-up.
        step: counted from 0.
        total: how many steps there are.
        warmup: the share of the steps that warm up, from 0 to 1.
    """
    rising = round(total * warmup)
    if step < rising:
        return (step + 1) / rising
    through = (step - rising) / max(total - rising, 1)
    return 1 - through if decay == "linear" else (1 + math.cos(math.pi * through)) / 2


def depth_factor(layer: int, layers: int, decay: float) -> float:
    """d^(L - l): 1 for the last layer and the head, smallest for the embeddings (layer 0)."""
    return decay ** (layers - layer)


def layer_of(name: str, stack: str | None, layers: int, first_in_stack: bool) -> int:
    """The depth of a parameter: 0 embeddings, 1 to L the layers, L what comes after them.

    Args:
        name: of the parameter, such as ``bert.encoder.layer.3.output.dense.weight``.
        stack: name of the list of layers, such as ``bert.encoder.layer``; None when there is none.
        layers: how many layers the list has.
        first_in_stack: whether a parameter of the stack was met before this one (registration order).
    """
    if stack is not None and name.startswith(f"{stack}."):
        return int(name[len(stack) + 1 :].split(".", 1)[0]) + 1
    if stack is not None and (not first_in_stack or "embed" in name):
        return 0
    return layers


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a weight decay."""

    parameters: tuple[nn.Parameter, ...]
    names: tuple[str, ...]
    factor: float
    weight_decay: float


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    *,
    stack: str | None,
    layers: int,
    layer_decay: float,
    weight_decay: float,
) -> list[Group]:
    """Trainable parameters grouped for AdamW.

    Weights of one dimension (biases, norm gains) never decay. The order of groups and of the
    parameters in them follows from the names alone, so that a resumed run finds its own state.
    """
    collected: dict[tuple[int, bool], list[tuple[str, nn.Parameter]]] = {}
    met = False
    for name, parameter in named:
        inside = stack is not None and name.startswith(f"{stack}.")
        layer = layer_of(name, stack, layers, met) if layer_decay != 1.0 else layers
        met = met or inside
        if parameter.requires_grad:
            plain = parameter.ndim < 2 or name.endswith("bias")
            collected.setdefault((layer, not plain), []).append((name, parameter))
    return [
        Group(
            parameters=tuple(parameter for _, parameter in members),
            names=tuple(name for name, _ in members),
            factor=depth_factor(layer, layers, layer_decay),
            weight_decay=weight_decay if decays else 0.0,
        )
        for (layer, decays), members in sorted(collected.items(), key=lambda item: item[0])
    ]
