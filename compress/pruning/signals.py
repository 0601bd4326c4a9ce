"""What criteria look at, collected for every part in one pass over some rows.

* ``gradients``: d(sum of row losses)/d(weights), in the order rows, columns, biases of a structure.
* ``fisher``: with a mask on every unit (heads after softmax times V, neurons after the activation),
  all 1, the sum over rows of (d loss of the row / d mask)^2, Kwon et al. 2022, eq. 5. Each row has
  its own copy of the masks, so that one backward pass gives every row's own derivative.
* ``activations``: mean square of each unit's output over real positions and the width of the unit.

The model stays in eval mode: dropout would add noise to all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from compress.criteria import Signal, Signals
from compress.errors import DataError, TrainingError
from compress.model.layers import real_tokens
from compress.tasks import Batch
from compress.training.objectives import tensors

if TYPE_CHECKING:
    from compress.pruning.anatomy import Part
    from compress.pruning.channels import Channels
    from compress.training.batching import TorchBatch

    AnyPart = Part | Channels

Loss = Callable[[Mapping[str, torch.Tensor], torch.Tensor, Batch], torch.Tensor]

LABELLED: frozenset[Signal] = frozenset({"gradients", "fisher"})


def unit_mean_squares(
    features: torch.Tensor, real: torch.Tensor | None, width: int
) -> tuple[torch.Tensor, int]:
    """Sum over real positions of each unit's mean square, float64 [units], and how many positions.

    Args:
        features: [batch, positions, units * width].
        real: which positions are no padding, boolean [batch, positions]; None for all.
        width: features a unit.
    """
    flat = features.reshape(-1, features.shape[-1]) if real is None else features[real]
    squares = flat.double().square().sum(dim=0)
    return squares.reshape(-1, width).mean(dim=1), flat.shape[0]


def row_losses(
    outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, batch: Batch, loss: Loss
) -> torch.Tensor:
    """The sum of every row's own loss (a batch's mean would weigh rows by their lengths), a scalar.

    Rows without any label (all -100) have no loss.
    """
    total = torch.zeros((), device=labels.device)
    for row in range(len(labels)):
        row_labels = labels[row : row + 1]
        if not row_labels.is_floating_point() and bool((row_labels == -100).all()):
            continue
        row_outputs = {name: value[row : row + 1] for name, value in outputs.items()}
        total = total + loss(row_outputs, row_labels, batch.row(row))
    return total


def collect(
    model: nn.Module,
    parts: Sequence[AnyPart],
    batches: Iterable[TorchBatch],
    needs: frozenset[Signal],
    *,
    loss: Loss,
) -> dict[str, Signals]:
    """The signals of every part, by part name.

    Args:
        model: in eval mode and on the batches' device; its gradients are None afterwards.
        parts: of that model.
        batches: encoded rows; labels are needed for gradients and fisher alone.
        needs: what to collect; an empty set collects nothing and runs nothing.
        loss: mean loss of some rows, given their outputs, their labels and the rows as encoded.

    Raises:
        DataError: a signal needs labels, and rows have none.
        TrainingError: the loss or an activation is not a number.
    """
    if not needs:
        return {part.name: Signals() for part in parts}
    collector = _Collector(parts, needs)
    parameters = {id(p): p for part in parts for p in _parameters(part)} if "gradients" in needs else {}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    for parameter, _ in flags:
        parameter.requires_grad_(id(parameter) in parameters)
        parameter.grad = None
    try:
        for batch in batches:
            _pass(model, collector, batch, needs, loss)
        return collector.result()
    finally:
        collector.remove()
        for parameter, flag in flags:
            parameter.grad = None
            parameter.requires_grad_(flag)


def _pass(
    model: nn.Module,
    collector: _Collector,
    batch: TorchBatch,
    needs: frozenset[Signal],
    loss: Loss,
) -> None:
    """One batch forward, and backward where a signal asks for it."""
    collector.start(batch)
    if not needs & LABELLED:
        with torch.no_grad():
            model(**batch.inputs)
        return
    if batch.labels is None:
        names = " and ".join(sorted(needs & LABELLED))
        raise DataError(
            f"The criterion needs {names} of the loss, and the rows have no labels: give labelled training "
            "rows, or use a criterion that needs none (activation, magnitude)"
        )
    with torch.enable_grad():
        answer = model(**batch.inputs)
        total = row_losses(tensors(answer), batch.labels, batch.arrays, loss)
    if not bool(torch.isfinite(total)):
        raise TrainingError(
            "The loss on the rows that importance is measured on is not a number: check the model's weights "
            "and the rows (paredown verify, or fewer rows with --limit)"
        )
    if total.requires_grad:
        total.backward()
    collector.finish()


def _parameters(part: AnyPart) -> list[nn.Parameter]:
    """The parameters of a part's layers."""
    return [parameter for layer in (*part.rows, part.columns) for parameter in layer.parameters()]


def _gradient(parameter: nn.Parameter) -> torch.Tensor:
    """A parameter's gradient, float64 on the CPU; zeros where the loss does not reach it."""
    gradient = parameter.grad
    return (torch.zeros_like(parameter) if gradient is None else gradient).detach().double().cpu()


def _is_map(part: AnyPart) -> bool:
    """Whether a part's features are [batch, units, height, width]; else units are on the last axis."""
    return isinstance(part.columns, nn.Conv2d)


class _Collector:
    """Hooks on the input of every part's last linear layer, and the sums so far."""

    def __init__(self, parts: Sequence[AnyPart], needs: frozenset[Signal]) -> None:
        self._parts = parts
        self._needs = needs
        self._mask_now: dict[str, torch.Tensor] = {}
        self._fisher: dict[str, torch.Tensor] = {}
        self._squares: dict[str, torch.Tensor] = {}
        self._positions: dict[str, int] = {}
        self._inputs: Mapping[str, torch.Tensor] = {}
        self._handles = [
            part.columns.register_forward_pre_hook(self._hook(part))
            for part in parts
            if needs & {"fisher", "activations"}
        ]

    def start(self, batch: TorchBatch) -> None:
        """Note the inputs of the coming batch: their mask says which positions are real."""
        self._inputs = batch.inputs
        self._mask_now = {}

    def finish(self) -> None:
        """Take the masks' gradients of the batch that was just run backward."""
        for name, mask in self._mask_now.items():
            if mask.grad is not None:
                squares = mask.grad.double().square().sum(dim=0)
                self._fisher[name] = self._fisher[name] + squares if name in self._fisher else squares
        self._mask_now = {}

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, part: AnyPart) -> Any:
        def see(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            features = inputs[0]
            if "activations" in self._needs:
                self._note(part, features.detach())
            if "fisher" not in self._needs:
                return inputs
            rows = len(next(iter(self._inputs.values())))
            mask = self._mask_now.get(part.name)  # a layer that is run again keeps its mask
            if mask is None:
                mask = torch.ones(rows, part.units, device=features.device, requires_grad=True)
                self._mask_now[part.name] = mask
            # Swin's attention sees each row as several windows.
            spread = mask.repeat_interleave(part.width, dim=1).repeat_interleave(len(features) // rows, dim=0)
            ones = [1] * (features.dim() - 2)
            shape = [*spread.shape, *ones] if _is_map(part) else [spread.shape[0], *ones, spread.shape[1]]
            return (features * spread.reshape(shape), *inputs[1:])

        return see

    def _note(self, part: AnyPart, features: torch.Tensor) -> None:
        if _is_map(part):
            features = features.movedim(1, -1)
        real = None if features.dim() > 3 else real_tokens(self._inputs, features.shape[1])
        squares, count = unit_mean_squares(features, real, part.width)
        self._squares[part.name] = self._squares.get(part.name, torch.zeros_like(squares)) + squares
        self._positions[part.name] = self._positions.get(part.name, 0) + count

    def result(self) -> dict[str, Signals]:
        """The sums as signals, on the CPU.

        Raises:
            TrainingError: one of them is not finite.
        """
        signals: dict[str, Signals] = {}
        for part in self._parts:
            gradients = None
            if "gradients" in self._needs:
                rows, columns, biases = part.tensors(_gradient)
                gradients = (*rows, *columns, *biases)
            none = torch.zeros(part.units, dtype=torch.float64)
            fisher = self._fisher.get(part.name, none).cpu() if "fisher" in self._needs else None
            activations = None
            if "activations" in self._needs:
                count = max(self._positions.get(part.name, 0), 1)
                activations = self._squares.get(part.name, none).cpu() / count
            for tensor in (*(gradients or ()), fisher, activations):
                if tensor is not None and not bool(torch.isfinite(tensor).all()):
                    raise TrainingError(
                        f"The signals of {part.name} are not all numbers: check the model's weights "
                        "and the rows that importance is measured on"
                    )
            signals[part.name] = Signals(gradients=gradients, fisher=fisher, activations=activations)
        return signals
