"""A model's attention heads and FFN neurons as parts, whatever its family calls them.

Pruning, signals and reconstruction all see a model as a list of ``Part``: the attention heads or the
FFN neurons of one layer. A part is a few linear layers whose output rows belong to its units, and one
linear layer whose input columns do; a unit is a head (``width`` columns), a group of query heads with the
key and value that they share, or a neuron (one column). A linear layer may hold several blocks of rows
(queries, keys and values in one; gate and value in one): a unit then has rows in each.

What the families are called is in ``families``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from compress.articles import a_type
from compress.criteria import Structure
from compress.errors import ModelError
from compress.pruning.families import PartKind, Side, family_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Part:
    """The heads or the FFN neurons of one layer, as they are in the model now.

    Attributes:
        layer: index of the layer in the model.
        kind: what a unit is.
        rows: linear layers whose output rows belong to the units.
        columns: the linear layer whose input columns belong to the units.
        width: columns a unit: the head size (times the heads of a group), or 1.
        blocks: how many blocks of rows each of ``rows`` holds.
        tables: parameters [..., units] with a column a unit, as module and name.
        tied: whether the same units must go from this kind of part in every layer.
        traced: whether torch-pruning's graph follows it.
        fixed: why no unit can go, a clause; None where they can.
    """

    layer: int
    kind: PartKind
    rows: tuple[nn.Module, ...]
    columns: nn.Module
    width: int
    blocks: int = 1
    tables: tuple[tuple[nn.Module, str], ...] = ()
    tied: bool = False
    traced: bool = True
    fixed: str | None = None

    @property
    def name(self) -> str:
        """Such as ``layer.3.heads``."""
        return f"layer.{self.layer}.{self.kind}"

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(oriented(self.columns, _weight(self.columns)).shape[1]) // self.width

    @property
    def unit_parameters(self) -> int:
        """How many parameters one unit has: its rows, their biases, its columns and those of its tables."""
        rows = sum(
            _weight(linear).numel() + (bias.numel() if bias is not None else 0)
            for linear in self.rows
            for bias in (_bias(linear),)
        )
        tables = sum(owner.get_parameter(name).numel() for owner, name in self.tables)
        return (rows + _weight(self.columns).numel() + tables) // self.units

    def rows_of(self, units: Sequence[int], linear: nn.Module) -> list[int]:
        """The indices of the rows that some units have in one of the part's linear layers, ascending."""
        count = oriented(linear, _weight(linear)).shape[0]
        block, unit = count // self.blocks, count // self.blocks // self.units
        return [start + row for start in range(0, count, block) for row in rows_of(units, unit)]

    def tensors(
        self, of: Callable[[nn.Parameter], torch.Tensor]
    ) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Rows [units * k, in], columns [out, units * width] and biases of the rows, a block each.

        Args:
            of: a parameter -> a tensor of its shape: its values, or its gradient.
        """
        rows = [
            block
            for linear in self.rows
            for block in oriented(linear, of(_weight(linear))).chunk(self.blocks)
        ]
        biases = [
            block
            for linear in self.rows
            for bias in (_bias(linear),)
            if bias is not None
            for block in of(bias).chunk(self.blocks)
        ]
        return tuple(rows), (oriented(self.columns, of(_weight(self.columns))),), tuple(biases)

    def structure(self) -> Structure:
        """The part's tensors as a criterion sees them (views, detached)."""
        rows, columns, biases = self.tensors(lambda parameter: parameter.detach())
        return Structure(
            name=self.name,
            kind=self.kind,
            units=self.units,
            width=self.width,
            rows=rows,
            columns=columns,
            biases=biases,
        )


def rows_of(units: Sequence[int], width: int) -> list[int]:
    """The row indices of some units: unit ``u`` owns rows ``u * width`` to ``(u + 1) * width - 1``."""
    return [unit * width + offset for unit in units for offset in range(width)]


def oriented(linear: nn.Module, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the shape of a linear layer's weight as [out, in]: GPT-2's Conv1D keeps it transposed."""
    return tensor if isinstance(linear, nn.Linear) else tensor.T


def layers_of(model: PreTrainedModel) -> list[nn.Module]:
    """The model's layers, in order.

    Raises:
        ModelError: the family is not known, or the model is not built as its family is.
    """
    return [layer for layers in layer_lists(model) for layer in layers]


def layer_lists(model: PreTrainedModel) -> list[nn.ModuleList]:
    """The lists that hold the layers: one, or one a stage.

    Raises:
        ModelError: the family is not known, or the model is not built as its family is.
    """
    path = family_of(model).layers
    modules: list[nn.Module] = [model.base_model]
    for step in path.split(".*."):
        modules = [
            entry
            for module in modules
            for entry in (module if isinstance(module, nn.ModuleList) else [module])
        ]
        modules = [_submodule(model, module, step) for module in modules]
    lists = [module for module in modules if isinstance(module, nn.ModuleList)]
    if len(lists) != len(modules):
        raise ModelError(f"{type(model).__name__}: '{path}' is no list of layers")
    return lists


def parts_of(model: PreTrainedModel) -> list[Part]:
    """Heads and FFN of every layer: ``layer.0.heads``, ``layer.0.ffn``, ``layer.1.heads``, ...

    Raises:
        ModelError: the family is not known, or the model is not built as its family is.
    """
    family = family_of(model)
    parts: list[Part] = []
    for index, layer in enumerate(layers_of(model)):
        present = [path for path in family.projections if _has(layer, path)]
        size = getattr(_submodule(model, layer, family.attention), family.size, None)
        if len(present) * family.head_blocks < 3 or not isinstance(size, int):
            raise ModelError(
                f"{type(model).__name__}: layer {index} is not built as this version of paredown expects "
                f"({', '.join(family.projections[:3])} and {family.size}), so it cannot be pruned"
            )
        projections = tuple(_linear(model, layer, path) for path in present)
        out = _linear(model, layer, family.attention_out)
        tables = [] if family.table is None else [_table(model, layer, family.table)]
        if family.shared_table is not None and index == 0:  # counted and cut once
            tables.append(_table(model, model.base_model, family.shared_table))
        parts.append(
            Part(
                layer=index,
                kind="heads",
                rows=projections,
                columns=out,
                width=size * (_query_heads(model, projections[:2]) if family.groups else 1),
                blocks=family.head_blocks,
                tables=tuple(tables),
                tied=family.shared_table is not None,
                traced="heads" not in family.untraced,
                fixed=family.fixed.get("heads"),
            )
        )
        parts.append(
            Part(
                layer=index,
                kind="ffn",
                rows=tuple(_linear(model, layer, path) for path in family.ffn_in),
                columns=_linear(model, layer, family.ffn_out),
                width=1,
                blocks=family.ffn_blocks,
                traced="ffn" not in family.untraced,
                fixed=family.fixed.get("ffn"),
            )
        )
    return parts


def stream_after(model: PreTrainedModel, part: Part) -> tuple[nn.Module, Side]:
    """The module at whose input or output the residual stream can be read after a part was added."""
    family = family_of(model)
    path, side = family.attention_sum if part.kind == "heads" else family.ffn_sum
    layer = layers_of(model)[part.layer]
    return (_submodule(model, layer, path) if path else layer), side


def scale_after(model: PreTrainedModel, part: Part) -> torch.Tensor | None:
    """By what each channel of a part's output is multiplied on the way to the stream, [width]; None: by 1."""
    scales = family_of(model).scales
    if scales is None:
        return None
    module = _submodule(model, layers_of(model)[part.layer], scales[0 if part.kind == "heads" else 1])
    (scale,) = module.parameters(recurse=False)
    values: torch.Tensor = scale.detach()
    return values


def _query_heads(model: PreTrainedModel, projections: Sequence[nn.Module]) -> int:
    """How many query heads share a key and a value."""
    queries, keys = (oriented(linear, _weight(linear)).shape[0] for linear in projections)
    if queries % keys:
        raise ModelError(
            f"{type(model).__name__}: {queries} rows of queries are not shared evenly by {keys} of keys, so "
            "it cannot be pruned"
        )
    return queries // keys


def _table(model: nn.Module, module: nn.Module, path: str) -> tuple[nn.Module, str]:
    owner = _submodule(model, module, path)
    (name,) = (name for name, _ in owner.named_parameters(recurse=False))
    return owner, name


def _weight(linear: nn.Module) -> nn.Parameter:
    return linear.get_parameter("weight")


def _bias(linear: nn.Module) -> nn.Parameter | None:
    return linear.get_parameter("bias") if getattr(linear, "bias", None) is not None else None


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True


def _submodule(model: nn.Module, module: nn.Module, path: str) -> Any:
    if not _has(module, path):
        raise ModelError(
            f"{type(model).__name__} has no '{path}' where its family keeps it: this version of "
            "transformers builds it in another way, so it cannot be pruned"
        )
    return module.get_submodule(path)


def _linear(model: nn.Module, layer: nn.Module, path: str) -> nn.Module:
    from transformers.pytorch_utils import Conv1D

    module: nn.Module = _submodule(model, layer, path)
    if not isinstance(module, nn.Linear | Conv1D):
        raise ModelError(
            f"{type(model).__name__}: '{path}' is {a_type(module)}, and only plain linear layers "
            "can be pruned: prune before quantizing or adding adapters"
        )
    return module
