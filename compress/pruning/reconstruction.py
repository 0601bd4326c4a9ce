"""Least squares after cutting: what stays takes over what it can of what went.

A removed unit's output is partly predictable from those that stay. Part by part, in the order of the
model and with the already cut layers in front, the last linear layer of every cut part is solved anew
so that the residual stream comes as near as it can to the uncut model's:

    min over D, d of  sum over tokens |X D + d - E|^2 + ridge |D|^2,   E = stream(uncut) - stream(cut)

with X the kept units' outputs; D is added to the weights and d to the bias. This is the mask tuning of
Kwon et al. 2022 and the weight tuning of K-prune (Park et al. 2024) with whole columns, a re-solved
bias, and a penalty on the change, so that few rows change little. No labels, no gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from compress import log
from compress.errors import ModelError
from compress.pruning.anatomy import Part, Side, layers_of, parts_of, stream_after

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from compress.training.batching import TorchBatch


class LeastSquares:
    """The sums of a ridge regression, tokens added batch by batch."""

    def __init__(self, constant: bool = True) -> None:
        """Start with no tokens; with a free constant where the layer has a bias."""
        self.constant = constant
        self.gram: torch.Tensor | None = None  # [k + 1, k + 1], the last row and column the constant's
        self.cross: torch.Tensor | None = None  # [k + 1, out]
        self.error = 0.0

    def add(self, features: torch.Tensor, errors: torch.Tensor) -> None:
        """Take in some tokens.

        Args:
            features: [tokens, k].
            errors: what should be added to the output, [tokens, out].
        """
        augmented = features
        if self.constant:
            augmented = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
        # One batch in its own precision, the sum over batches and the solution in double.
        gram, cross = (augmented.T @ augmented).double(), (augmented.T @ errors).double()
        self.gram = gram if self.gram is None else self.gram + gram
        self.cross = cross if self.cross is None else self.cross + cross
        self.error += float(errors.double().square().sum())

    def solve(self, ridge: float) -> tuple[torch.Tensor, torch.Tensor | None, float]:
        """The change of weight [out, k] and bias [out], and the share of the squared error that stays.

        Args:
            ridge: penalty on the change, in units of the features' mean square; the constant is free.
        """
        if self.gram is None or self.cross is None:
            raise ValueError("no tokens to solve from")
        size = len(self.gram) - self.constant
        penalty = ridge * self.gram.diagonal()[:size].mean().clamp_min(1e-12)
        system = self.gram.clone()
        system.diagonal()[:size] += penalty
        solution = torch.linalg.solve(system, self.cross)
        explained = 2 * (solution * self.cross).sum() - (solution * (self.gram @ solution)).sum()
        left = 1.0 if self.error == 0 else 1.0 - float(explained) / self.error
        return solution[:size].T, solution[size] if self.constant else None, left


@dataclass
class _Rows:
    """One batch on its way through both models, layer by layer."""

    cut: torch.Tensor
    whole: torch.Tensor
    real: torch.Tensor | None
    rest: tuple[Any, ...]
    named: dict[str, Any]


@torch.no_grad()
def reconstruct(
    cut: PreTrainedModel, original: PreTrainedModel, batches: Sequence[TorchBatch], *, ridge: float = 1e-2
) -> dict[str, float]:
    """Solve the last linear layer of every cut part, in place.

    Args:
        cut: the pruned model; on the batches' device.
        original: the same model before the cut, with as many layers; on the same device.
        batches: encoded rows; labels are not read.
        ridge: penalty on the change, in units of the features' mean square.

    Returns:
        Part name -> the share of the squared error of the stream that stays, 0 to 1, for cut parts.

    Raises:
        ModelError: the family runs more between its layers than the layers themselves.
    """
    rows = [_enter(cut, original, batch) for batch in batches]
    left: dict[str, float] = {}
    pairs = list(zip(parts_of(cut), parts_of(original), strict=True))
    cut_layers, whole_layers = layers_of(cut), layers_of(original)
    for index in range(len(cut_layers)):
        for ours, theirs in pairs[2 * index : 2 * index + 2]:
            if ours.units < theirs.units:
                left[ours.name] = _solve(cut, original, ours, theirs, rows, ridge)
        for row in rows:
            row.cut = _through(cut_layers[index], row.cut, row)
            row.whole = _through(whole_layers[index], row.whole, row)
    return left


def _solve(
    cut: PreTrainedModel,
    original: PreTrainedModel,
    ours: Part,
    theirs: Part,
    rows: Sequence[_Rows],
    ridge: float,
) -> float:
    """Solve one part; the share of its error that stays."""
    sums = LeastSquares(constant=ours.columns.bias is not None)
    layer, reference = layers_of(cut)[ours.layer], layers_of(original)[theirs.layer]
    for row in rows:
        with _watch(ours.columns, "input") as features, _watch(*stream_after(cut, ours)) as stream:
            _through(layer, row.cut, row)
        with _watch(*stream_after(original, theirs)) as reference_stream:
            _through(reference, row.whole, row)
        inputs, error = features[0], reference_stream[0] - stream[0]
        if row.real is None:
            sums.add(inputs.flatten(0, 1), error.flatten(0, 1))
        else:
            sums.add(inputs[row.real], error[row.real])
    weight, bias, left = sums.solve(ridge)
    if bias is not None:
        ours.columns.bias.add_(bias.to(ours.columns.bias.dtype))
    ours.columns.weight.add_(weight.to(ours.columns.weight.dtype))
    log.detail("reconstruct: %s, %.0f%% of the error stays", ours.name, 100 * left)
    return left


def _enter(cut: PreTrainedModel, original: PreTrainedModel, batch: TorchBatch) -> _Rows:
    """What the first layer gets of a batch, and a check that layers follow each other directly.

    Raises:
        ModelError: they do not.
    """
    layers = layers_of(original)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((args, kwargs))

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    cut_inputs: list[torch.Tensor] = []
    handles.append(
        layers_of(cut)[0].register_forward_pre_hook(
            lambda _module, args, kwargs: cut_inputs.append(_hidden(args, kwargs)), with_kwargs=True
        )
    )
    try:
        original(**batch.inputs)
        cut(**batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    args, kwargs = calls[0]
    mask = batch.inputs.get("attention_mask")
    named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
    rows = _Rows(
        cut=cut_inputs[0],
        whole=_hidden(args, kwargs),
        real=None if mask is None else mask.bool(),
        rest=args[1:],
        named=named,
    )
    if len(layers) > 1:
        following = _through(layers[0], rows.whole, rows)
        if not torch.allclose(following, _hidden(*calls[1]), atol=1e-4):
            raise ModelError(
                f"{type(original).__name__} computes more between its layers than the layers themselves, so "
                "they cannot be solved one by one: set 'reconstruct: false'"
            )
    return rows


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    hidden: torch.Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden


def _through(layer: nn.Module, hidden: torch.Tensor, rows: _Rows) -> torch.Tensor:
    """A layer's output for some hidden states, with what else its model gave it."""
    output = layer(hidden, *rows.rest, **rows.named)
    result: torch.Tensor = output[0] if isinstance(output, tuple) else output
    return result


@contextmanager
def _watch(module: nn.Module, side: Side) -> Iterator[list[torch.Tensor]]:
    """What goes into a module, or comes out, while the context lasts."""
    tensors: list[torch.Tensor] = []

    def before(_module: nn.Module, args: tuple[Any, ...]) -> None:
        tensors.append(args[0])

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        tensors.append(output[0] if isinstance(output, tuple) else output)

    handle = (
        module.register_forward_pre_hook(before) if side == "input" else module.register_forward_hook(after)
    )
    try:
        yield tensors
    finally:
        handle.remove()
