"""Cutting heads, neurons and layers out of a model; the one door to torch-pruning.

torch-pruning's ``DependencyGraph`` (Fang et al. 2023, "DepGraph") traces the model and says which
linear layers must be cut together; what to cut is decided elsewhere. Every group is compared with
what the model's family is known to couple (``anatomy``) before anything is cut: the graph is
traced, and a trace can miss an edge (GPT-2's ``Conv1D``) or lose an index mapping without an error.
``BasePruner`` is not used: it over-prunes, silently prunes nothing in some set-ups, and leaks state
between models through mutable defaults (1.6.1).

Attention in transformers 5 mostly infers the number of heads from the width; the counts kept as
attributes are set all the same, since DeBERTa-v2 reads them and ``checkpoint`` records them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch_pruning
from torch import nn

from compress.errors import ModelError
from compress.model.layers import number
from compress.pruning.anatomy import Part, family_of, layers_of, parts_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Plan:
    """What stays of a model.

    Attributes:
        units: part name -> the units that stay, ascending; parts without an entry stay whole.
        layers: the layers that stay, ascending; None for all. Part names refer to the model before
            layers are removed.
    """

    units: Mapping[str, Sequence[int]] = field(default_factory=dict)
    layers: Sequence[int] | None = None


def parameter_count(model: nn.Module) -> int:
    """How many parameters a model has, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def rows_of(units: Sequence[int], width: int) -> list[int]:
    """The row indices of some units: unit ``u`` owns rows ``u * width`` to ``(u + 1) * width - 1``."""
    return [unit * width + offset for unit in units for offset in range(width)]


def removed_parameters(parts: Sequence[Part], plan: Plan) -> int:
    """How many parameters a plan's units take away (layers not counted)."""
    return sum(
        (part.units - len(plan.units[part.name])) * part.unit_parameters
        for part in parts
        if part.name in plan.units
    )


def apply(model: PreTrainedModel, plan: Plan) -> None:
    """Cut a model in place, and write into its configuration what that can express.

    Args:
        model: in eval mode afterwards; parameters that are cut are new ones, so an optimizer has to
            be built after this.
        plan: names of units and layers that stay.

    Raises:
        ModelError: the family is not known, or the graph couples other layers than it should.
        ValueError: the plan names what the model does not have, or leaves a part empty.
    """
    parts = parts_of(model)
    by_part = _checked(parts, plan)
    if any(len(by_part[part.name]) < part.units for part in parts):
        graph = dependency_graph(model)
        for part in parts:
            if len(by_part[part.name]) < part.units:
                _cut(graph, model, part, by_part[part.name])
    if plan.layers is not None:
        keep_layers(model, plan.layers)
    _describe(model)


def keep_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    """Remove every other layer, in place; the configuration then counts those that stay.

    Raises:
        ModelError: the family is not known, or the model weighs its layers by number.
        ValueError: the indices are not ascending indices of layers.
    """
    layers = layers_of(model)
    if (
        not indices
        or list(indices) != sorted(set(indices))
        or not 0 <= indices[0] <= indices[-1] < len(layers)
    ):
        raise ValueError(f"layers to keep: {list(indices)}, of a model with {len(layers)}")
    if getattr(model.config, "use_weighted_layer_sum", False):
        raise ModelError(
            f"{type(model).__name__} weighs the outputs of its layers one by one (use_weighted_layer_sum), "
            "so layers cannot be removed: prune heads and ffn alone"
        )
    family = family_of(model)
    path, _, name = family.layers.rpartition(".")
    owner = model.base_model.get_submodule(path) if path else model.base_model
    staying = nn.ModuleList([layers[index] for index in indices])
    setattr(owner, name, staying)
    for attribute in family.layer_counts:
        setattr(owner, attribute, len(staying))
    number(staying)
    model.config.num_hidden_layers = len(staying)


@contextmanager
def masked(model: PreTrainedModel, plan: Plan) -> Iterator[None]:
    """The model as if the plan's removed units gave zero, without cutting (layers are not masked)."""
    handles = []
    try:
        for part in parts_of(model):
            units = plan.units.get(part.name)
            if units is not None:
                mask = torch.zeros(part.units * part.width, device=part.columns.weight.device)
                mask[rows_of(units, part.width)] = 1.0
                handles.append(part.columns.register_forward_pre_hook(_multiplier(mask)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _multiplier(mask: torch.Tensor) -> Any:
    def multiply(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0] * mask, *inputs[1:])

    return multiply


def _checked(parts: Sequence[Part], plan: Plan) -> dict[str, list[int]]:
    """The kept units of every part, those of an untouched part being all."""
    sizes = {part.name: part.units for part in parts}
    unknown = plan.units.keys() - sizes.keys()
    if unknown:
        raise ValueError(f"the plan names parts that the model does not have: {sorted(unknown)}")
    by_part = {name: list(plan.units.get(name, range(size))) for name, size in sizes.items()}
    for name, units in by_part.items():
        if not units or units != sorted(set(units)) or not 0 <= units[0] <= units[-1] < sizes[name]:
            raise ValueError(f"units to keep of {name}: {units}, of {sizes[name]}")
    return by_part


def _example(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """One small input that the graph is traced with; its values do not matter."""
    device, config = model.device, model.config
    if model.main_input_name == "pixel_values":
        # CLIP and SigLIP keep the size in a part of their own; a network of convolutions takes any.
        vision = getattr(config, "vision_config", config)
        size = getattr(vision, "image_size", None) or 64
        height, width = size if isinstance(size, tuple | list) else (size, size)
        channels = getattr(vision, "num_channels", 3)
        return {"pixel_values": torch.zeros(1, channels, height, width, device=device)}
    if model.main_input_name == "input_values":  # long enough for the usual stack of convolutions
        return {"input_values": torch.linspace(-1, 1, 4000, device=device)[None]}
    ids = torch.arange(7, device=device) % config.vocab_size
    return {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}


def dependency_graph(model: PreTrainedModel) -> torch_pruning.DependencyGraph:
    """torch-pruning's graph of a model; it needs autograd to trace, and eval mode."""
    model.eval()
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            # Parameters outside of plain modules (class tokens, positions) are never cut here.
            warnings.simplefilter("ignore")
            return torch_pruning.DependencyGraph().build_dependency(
                model,
                example_inputs=_example(model),
                output_transform=lambda outputs: outputs.to_tuple()[0].sum(),
                verbose=False,
            )
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def _cut(
    graph: torch_pruning.DependencyGraph, model: PreTrainedModel, part: Part, units: Sequence[int]
) -> None:
    """Remove every unit of a part but the kept ones, after checking the group."""
    staying = set(units)
    gone = rows_of([unit for unit in range(part.units) if unit not in staying], part.width)
    group = graph.get_pruning_group(part.rows[0], torch_pruning.prune_linear_out_channels, idxs=gone)
    coupled = {
        (dependency.target.module, graph.is_out_channel_pruning_fn(dependency.handler)): sorted(indices)
        for dependency, indices in group
        if holds_weights(dependency.target.module)
    }
    expected = {(linear, True): gone for linear in part.rows} | {(part.columns, False): gone}
    if coupled != expected:
        names = {module: name for name, module in model.named_modules()}
        met = ", ".join(sorted(names.get(module, "a bare parameter") for module, _ in coupled))
        raise ModelError(
            f"{type(model).__name__}: cutting {part.name} would touch {met}, which is not what its family "
            "couples; this version of transformers builds it in another way, so it cannot be pruned"
        )
    # The cut gives new parameters, which forget whether they were frozen.
    frozen = [
        (linear, name)
        for linear in (*part.rows, part.columns)
        for name, parameter in linear.named_parameters()
        if not parameter.requires_grad
    ]
    group.prune(record_history=False)
    for linear, name in frozen:
        linear.get_parameter(name).requires_grad_(False)
    if part.kind == "heads":
        _count_heads(model, part, len(staying))


def holds_weights(module: nn.Module | nn.Parameter) -> bool:
    """Whether a node of the graph is a part of the model, not an operation such as a reshape."""
    return isinstance(module, nn.Parameter) or any(True for _ in module.parameters(recurse=False))


def _count_heads(model: PreTrainedModel, part: Part, heads: int) -> None:
    """Set the attributes that hold a layer's number of heads, as plain integers."""
    family = family_of(model)
    attention = layers_of(model)[part.layer].get_submodule(family.attention)
    for name in family.counts:
        setattr(attention, name, heads)
    for name in family.totals:
        setattr(attention, name, heads * part.width)


def _describe(model: PreTrainedModel) -> None:
    """Write equal widths into the configuration, where it can express them.

    A folder whose configuration says it all loads with plain ``from_pretrained``; for the rest
    ``checkpoint`` writes ``shapes.json``.
    """
    family, parts = family_of(model), parts_of(model)
    widths = {part.units for part in parts if part.kind == "ffn"}
    if len(widths) == 1:
        setattr(model.config, family.config_width, widths.pop())
    heads = {(part.units, part.width) for part in parts if part.kind == "heads"}
    if len(heads) != 1 or family.config_size is None:
        return
    count, size = heads.pop()
    if count != model.config.num_attention_heads:
        model.config.num_attention_heads = count
        setattr(model.config, family.config_size, size)
