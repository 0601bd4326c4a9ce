"""Narrower and shallower encoders: what a latency table needs to know, as structured pruning leaves it.

Heads keep their size, so that attention kernels still fit; all layers get the same width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from studies.gpu import plan as plans
from studies.gpu.plan import Plan, Sizes


@dataclass(frozen=True)
class Width:
    """Heads and FFN neurons of every layer."""

    heads: int
    ffn: int


def widths(sizes: Sizes, plan: Plan) -> list[Width]:
    """Full, the parts of heads and of FFN each alone and together, and the steps around the FFN's half."""
    made = []
    for part in plan.parts:
        heads, ffn = plans.heads_of(sizes, part), plans.ffn_of(sizes, part)
        made += [Width(heads, ffn), Width(heads, sizes.ffn), Width(sizes.heads, ffn)]
    made += [Width(sizes.heads, ffn) for ffn in plans.around_half(sizes, plan.steps)]
    return list(dict.fromkeys(made))


def depths(sizes: Sizes) -> Iterator[Sizes]:
    """One layer, about a half, and all of them."""
    for layers in sorted({1, max(1, sizes.layers // 2), sizes.layers}):
        yield replace(sizes, layers=layers)


def narrow(model: Any, width: Width) -> None:
    """Replace the layers' weights in place by narrower random ones.

    Args:
        model: a BERT classifier of transformers.
        width: of each layer.
    """
    for layer in model.bert.encoder.layer:
        attention, output = layer.attention.self, layer.attention.output
        size = attention.attention_head_size
        inside = width.heads * size
        for name in ("query", "key", "value"):
            setattr(attention, name, _like(getattr(attention, name), out=inside))
        attention.num_attention_heads, attention.all_head_size = width.heads, inside
        output.dense = _like(output.dense, inputs=inside)
        layer.intermediate.dense = _like(layer.intermediate.dense, out=width.ffn)
        layer.output.dense = _like(layer.output.dense, inputs=width.ffn)


def _like(linear: torch.nn.Linear, *, inputs: int | None = None, out: int | None = None) -> torch.nn.Linear:
    weight = linear.weight
    made = torch.nn.Linear(
        inputs or linear.in_features, out or linear.out_features, device=weight.device, dtype=weight.dtype
    )
    torch.nn.init.normal_(made.weight, std=0.02)
    torch.nn.init.zeros_(made.bias)
    return made
