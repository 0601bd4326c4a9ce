"""Adversarial training: rows are learned as they are, and with embeddings pushed to where the loss is higher.

    r = epsilon ||e|| g / ||g||,  e: embeddings of a row, g = dL/de
    L_total = 1/2 (L(e) + L(e + r))                        Miyato et al. 2017, section 3

Known as the Fast Gradient Method. The push is of the row as a whole and a constant of the step: no
gradient flows through it. It is relative to the embeddings for the reason that the paper normalizes them:
a model could else grow out of its reach, and a value that suits one model would drown another. A step
costs a little over two steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from compress.errors import ModelError
from compress.training.batching import TorchBatch
from compress.training.objectives import Objective


def perturbation(embedded: torch.Tensor, gradient: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The push of each row: along its gradient; none where the gradient is 0.

    Args:
        embedded: [batch, length, width].
        gradient: of the loss by them, the same shape. Positions without any, such as padding, do not count.
        epsilon: L2 length of a row's push as a share of that of its embeddings.
    """
    embedded, gradient = embedded.detach().float(), gradient.float()
    least = torch.finfo(torch.float32).tiny
    one_a_row = (-1, *[1] * (gradient.dim() - 1))
    # Squares of the gradient of a row that the model is sure of are 0 in FP32: only directions are squared.
    direction = gradient / gradient.flatten(1).abs().amax(dim=1).clamp_min(least).view(one_a_row)
    counted = embedded * (gradient != 0).any(dim=-1, keepdim=True)
    length = counted.flatten(1).norm(dim=1)
    return direction * (epsilon * length / direction.flatten(1).norm(dim=1).clamp_min(least)).view(one_a_row)


class AdversarialObjective:
    """Another objective, with and without the push. Call it with the model and the batch."""

    def __init__(self, objective: Objective, embeddings: nn.Module, epsilon: float) -> None:
        """Take the objective, the model's input embeddings (a part of the model) and epsilon."""
        self._objective = objective
        self._embeddings = embeddings
        self._epsilon = epsilon

    def __call__(self, model: nn.Module, batch: TorchBatch) -> torch.Tensor:
        """The mean of both losses, a scalar.

        Raises:
            ModelError: the embeddings are not one tensor, so that there is nothing to push.
        """
        tensors: list[torch.Tensor] = []

        def watch(embedded: object) -> object:
            if not isinstance(embedded, torch.Tensor) or tensors:
                raise ModelError(
                    f"{type(self._embeddings).__name__} gives not one tensor a pass: leave adversarial off"
                )
            tensors.append(embedded.requires_grad_())  # those that are frozen give none by themselves
            return embedded

        with _changed(self._embeddings, watch):
            clean = self._objective(model, batch)
        (gradient,) = torch.autograd.grad(clean, tensors, retain_graph=True)
        push = perturbation(tensors[0], gradient, self._epsilon)
        with _changed(self._embeddings, lambda embedded: embedded + push.to(embedded.dtype)):
            pushed = self._objective(model, batch)
        return (clean + pushed) / 2


@contextmanager
def _changed(module: nn.Module, change: Callable[[Any], object]) -> Iterator[None]:
    """Let what a module gives pass through a function, for as long as this lasts."""
    handle = module.register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()
