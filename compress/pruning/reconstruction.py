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
from compress.model.layers import real_tokens
from compress.pruning.anatomy import Part, layers_of, oriented, parts_of, scale_after, stream_after
from compress.pruning.families import Side

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


Call = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class _Rows:
    """One batch on its way through both models, layer by layer.

    Attributes:
        cut: what the next layer of the cut model gets.
        whole: the same of the whole model.
        real: boolean [batch, positions] of what is no padding; None for all.
        cut_calls: what else each layer of the cut model is given, call by call.
        whole_calls: the same of the whole model.
    """

    cut: torch.Tensor
    whole: torch.Tensor
    real: torch.Tensor | None
    cut_calls: list[Call]
    whole_calls: list[Call]


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
    rows = [_enter(cut, original, batch, first=index == 0) for index, batch in enumerate(batches)]
    left: dict[str, float] = {}
    pairs = list(zip(parts_of(cut), parts_of(original), strict=True))
    cut_layers, whole_layers = layers_of(cut), layers_of(original)
    for index, (ours_layer, theirs_layer) in enumerate(zip(cut_layers, whole_layers, strict=True)):
        for ours, theirs in pairs[2 * index : 2 * index + 2]:
            if ours.units < theirs.units:
                left[ours.name] = _solve(cut, original, ours, theirs, rows, ridge)
        for row in rows:
            row.cut = _through(ours_layer, row.cut, row.cut_calls[index])
            row.whole = _through(theirs_layer, row.whole, row.whole_calls[index])
    return left


def _solve(
    cut: PreTrainedModel,
    original: PreTrainedModel,
    ours: Part,
    theirs: Part,
    rows: Sequence[_Rows],
    ridge: float,
) -> float:
    """Solve one part; the share of its error that stays.

    A layer that is run again and again (ALBERT) is solved on what the whole model gives it each time: what
    one run lacks would otherwise be made up for in all that follow.
    """
    bias: nn.Parameter | None = getattr(ours.columns, "bias", None)
    sums = LeastSquares(constant=bias is not None)
    layer, reference = layers_of(cut)[ours.layer], layers_of(original)[theirs.layer]
    scale = scale_after(cut, ours)
    for row in rows:
        runs = _runs(row, ours, len(layers_of(cut)))
        whole = row.whole
        for number in runs:
            inner = row.cut if len(runs) == 1 else whole
            with _watch(ours.columns, "input") as features, _watch(*stream_after(cut, ours)) as stream:
                _through(layer, inner, row.cut_calls[number])
            with _watch(*stream_after(original, theirs)) as reference_stream:
                whole = _through(reference, whole, row.whole_calls[number])
            inputs, error = features[0], reference_stream[0] - stream[0]
            if scale is not None:  # a channel that is multiplied by nothing cannot be mended
                error = torch.where(scale == 0, 0.0, error / torch.where(scale == 0, 1.0, scale))
            if row.real is None:
                sums.add(inputs.flatten(0, 1), error.flatten(0, 1))
            else:
                sums.add(inputs[row.real], error[row.real])
    weight_change, bias_change, left = sums.solve(ridge)
    if bias is not None and bias_change is not None:
        bias.add_(bias_change.to(bias.dtype))
    weight = oriented(ours.columns, ours.columns.get_parameter("weight"))
    weight.add_(weight_change.to(weight.dtype))
    log.detail("reconstruct: %s, %.0f%% of the error stays", ours.name, 100 * left)
    return left


def _runs(row: _Rows, part: Part, layers: int) -> range:
    """The calls in which a part's layer is run: one, or all where one layer is run again and again."""
    return range(part.layer, part.layer + 1) if layers == len(row.cut_calls) else range(len(row.cut_calls))


def _enter(cut: PreTrainedModel, original: PreTrainedModel, batch: TorchBatch, *, first: bool) -> _Rows:
    """What the layers get of a batch, and of the first batch a check that they follow each other directly.

    Raises:
        ModelError: they do not.
    """
    whole_inputs, whole_calls = _calls(original, batch)
    cut_inputs, cut_calls = _calls(cut, batch)
    layers = layers_of(original)
    if first:
        for index in range(len(whole_calls) - 1):
            layer = layers[index] if len(layers) == len(whole_calls) else layers[0]
            following = _through(layer, whole_inputs[index], whole_calls[index])
            entering = whole_inputs[index + 1]
            if following.shape != entering.shape or not torch.allclose(following, entering, atol=1e-4):
                raise ModelError(
                    f"{type(original).__name__} computes more between its layers than the layers themselves, "
                    "so they cannot be solved one by one: set 'reconstruct: false'"
                )
    return _Rows(
        cut=cut_inputs[0],
        whole=whole_inputs[0],
        real=real_tokens(batch.inputs, cut_inputs[0].shape[1]),
        cut_calls=cut_calls,
        whole_calls=whole_calls,
    )


def _calls(model: PreTrainedModel, batch: TorchBatch) -> tuple[list[torch.Tensor], list[Call]]:
    """What each call of a layer gets: its hidden states, and the other arguments."""
    inputs: list[torch.Tensor] = []
    calls: list[Call] = []

    def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        inputs.append(args[0] if args else kwargs["hidden_states"])
        # A cache would grow with every run of the layer.
        named = {k: None if k == "past_key_values" else v for k, v in kwargs.items() if k != "hidden_states"}
        calls.append((args[1:], named))

    handles = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers_of(model)]
    try:
        model(**batch.inputs)
    finally:
        for handle in handles:
            handle.remove()
    return inputs, calls


def _through(layer: nn.Module, hidden: torch.Tensor, call: Call) -> torch.Tensor:
    """A layer's output for some hidden states, with what else its model gave it."""
    positional, named = call
    output = layer(hidden, *positional, **named)
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
