"""Channels of convolutional networks: which can go without touching a residual sum, and cutting them.

A channel that one convolution makes, that batch norms, activations and depthwise convolutions pass on, and
that one other convolution (or linear layer) takes, belongs to nobody else: the inner channels of residual
blocks and of inverted bottlenecks. torch-pruning's graph says which these are, for any network; no family is
named here. Channels that are summed (the residual stream), multiplied (squeeze and excitation), split into
groups or flattened with their positions stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch_pruning
from torch import nn

from compress.criteria import Structure
from compress.errors import ModelError
from compress.pruning import choice, surgery
from compress.pruning.choice import Pool, Scope
from compress.pruning.families import FAMILIES
from compress.pruning.targets import Scores, ranges

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MINIMUM_CHANNELS = 8
# Below this share of the parameters there is nothing worth a training.
_WORTH = 0.1


@dataclass(frozen=True)
class Channels:
    """The channels between two convolutions, as they are in the model now.

    Attributes:
        name: of the convolution that makes them, as the model calls it.
        rows: that convolution, and depthwise ones that pass the channels on.
        norms: batch norms in between.
        columns: what takes them.
        width: always 1; a unit is a channel.
    """

    name: str
    rows: tuple[nn.Conv2d, ...]
    norms: tuple[nn.BatchNorm2d, ...]
    columns: nn.Conv2d | nn.Linear
    width: int = 1

    @property
    def units(self) -> int:
        """How many channels there are."""
        return int(self.rows[0].out_channels)

    @property
    def unit_parameters(self) -> int:
        """How many parameters one channel has: its filters, biases, norms, and what takes it."""
        modules = (*self.rows, *self.norms)
        rows = sum(parameter.numel() for module in modules for parameter in module.parameters())
        return (rows + self.columns.weight.numel()) // self.units

    def tensors(
        self, of: Callable[[nn.Parameter], torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Rows [units, taps], columns [out * taps, units] and biases of the rows.

        Args:
            of: a parameter -> a tensor of its shape: its values, or its gradient.
        """
        return (
            tuple(of(conv.get_parameter("weight")).flatten(1) for conv in self.rows),
            (by_column(of(self.columns.get_parameter("weight"))),),
            tuple(of(conv.get_parameter("bias")) for conv in self.rows if conv.bias is not None),
        )

    def structure(self) -> Structure:
        """The tensors as a criterion sees them, detached: a filter a row, its taker's taps a column."""
        rows, columns, biases = self.tensors(lambda parameter: parameter.detach())
        return Structure(
            name=self.name,
            kind="ffn",
            units=self.units,
            width=1,
            rows=rows,
            columns=columns,
            biases=biases,
        )


def by_column(weight: torch.Tensor) -> torch.Tensor:
    """A weight [out, in, ...] as [out * taps, in]."""
    return weight if weight.dim() == 2 else weight.movedim(1, -1).flatten(0, -2)


def is_convolutional(model: PreTrainedModel) -> bool:
    """Whether most of a model's weights are those of convolutions, and its family is none of transformers."""
    if getattr(model.config, "model_type", None) in FAMILIES:
        return False
    filters = sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Conv2d))
    return 2 * filters > surgery.parameter_count(model)


def channels_of(model: PreTrainedModel) -> list[Channels]:
    """The channels that can be cut, in the order of the model.

    Raises:
        ModelError: there are none, or so few that cutting them is not worth a training.
    """
    return _channels(model, surgery.dependency_graph(model))


def _channels(model: PreTrainedModel, graph: torch_pruning.DependencyGraph) -> list[Channels]:
    parts = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module in graph.module2node:
            part = _part(name, module, graph)
            if part is not None:
                parts.append(part)
    total = surgery.parameter_count(model)
    share = sum(part.units * part.unit_parameters for part in parts) / total
    if share < _WORTH:
        raise ModelError(
            f"A {type(model).__name__} cannot be pruned: only {100 * share:.1f} % of its weights belong to "
            "channels that no residual sum, product, group or flattened map couples to others. What makes it "
            "smaller: eight bits ('paredown quantize'), or a smaller student ('distill' with a smaller "
            "network of the same labels)"
        )
    return parts


def _part(name: str, conv: nn.Conv2d, graph: torch_pruning.DependencyGraph) -> Channels | None:
    """The channels that a convolution makes; None where they are not its own."""
    every = list(range(conv.out_channels))
    group = graph.get_pruning_group(conv, torch_pruning.prune_conv_out_channels, idxs=every)
    rows: dict[nn.Conv2d, None] = {conv: None}
    norms: dict[nn.BatchNorm2d, None] = {}
    takers: dict[nn.Conv2d | nn.Linear, None] = {}
    for dependency, indices in group:
        module = dependency.target.module
        if not surgery.holds_weights(module):
            continue
        if sorted(indices) != every:
            return None  # channels are mapped to others: concatenated, split or flattened
        gives = graph.is_out_channel_pruning_fn(dependency.handler)
        if isinstance(module, nn.BatchNorm2d):
            norms[module] = None
        elif isinstance(module, nn.Conv2d) and module.groups == module.in_channels == conv.out_channels:
            rows[module] = None
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            if gives and module is not conv:
                return None  # summed with what another one makes
            if not gives:
                takers[module] = None
        elif isinstance(module, nn.Linear) and not gives:
            takers[module] = None
        else:
            return None
    if len(takers) != 1:
        return None
    if any(row.out_channels != conv.out_channels for row in rows):
        return None
    return Channels(name, tuple(rows), tuple(norms), next(iter(takers)))


def plan(
    parts: Sequence[Channels],
    scores: Scores,
    whole: Mapping[str, int],
    *,
    keep: float,
    scope: Scope,
    multiple: int,
) -> dict[str, tuple[int, ...]]:
    """The channels that stay of every part, ascending.

    Args:
        parts: of the model as it is now.
        scores: of its channels.
        whole: how many there were before any pruning.
        keep: share of them that stays.
        scope: whether parts compete (see ``choice``).
        multiple: kept counts are multiples of this.
    """
    pools = [
        Pool(part.name, scores[part.name], part.unit_parameters, whole[part.name], multiple, MINIMUM_CHANNELS)
        for part in parts
    ]
    return choice.choose(pools, keep, scope)


def cut(model: PreTrainedModel, units: Mapping[str, Sequence[int]]) -> None:
    """Remove every channel that is not kept, in place; parameters that are cut are new ones.

    Raises:
        ModelError: the graph couples other layers than before a cut.
    """
    graph = surgery.dependency_graph(model)
    for part in _channels(model, graph):
        staying = set(units.get(part.name, range(part.units)))
        gone = [unit for unit in range(part.units) if unit not in staying]
        if not gone:
            continue
        group = graph.get_pruning_group(part.rows[0], torch_pruning.prune_conv_out_channels, idxs=gone)
        coupled = {
            dependency.target.module: sorted(indices)
            for dependency, indices in group
            if surgery.holds_weights(dependency.target.module)
        }
        expected = dict.fromkeys((*part.rows, *part.norms, part.columns), gone)
        if coupled != expected:
            raise ModelError(
                f"{type(model).__name__}: cutting {part.name} would touch layers that its channels do not "
                "belong to, so it cannot be pruned"
            )
        group.prune(record_history=False)


class ChannelLedger:
    """Which channels of the unpruned model are still there, by their first numbers."""

    def __init__(self, parts: Sequence[Channels]) -> None:
        """Start with everything."""
        self.whole = {part.name: part.units for part in parts}
        self._units: dict[str, tuple[int, ...]] = {name: tuple(range(n)) for name, n in self.whole.items()}

    def apply(self, units: Mapping[str, Sequence[int]]) -> None:
        """Follow a cut."""
        for name, indices in units.items():
            self._units[name] = tuple(self._units[name][index] for index in indices)

    def facts(self) -> list[dict[str, Any]]:
        """What is left of each, as a JSON value; channels as ranges such as ``0-3,7``."""
        return [
            {"convolution": name, "channels": len(units), "of": self.whole[name], "which": ranges(units)}
            for name, units in self._units.items()
        ]

    def state(self) -> dict[str, Any]:
        """Everything, as a JSON value that ``restore`` takes."""
        return {name: list(units) for name, units in self._units.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of a ledger of the same model."""
        self._units = {name: tuple(units) for name, units in state.items()}
