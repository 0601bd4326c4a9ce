"""Cutting heads, neurons and layers out of a model; the one door to torch-pruning.

torch-pruning's ``DependencyGraph`` (Fang et al. 2023, "DepGraph") traces the model and says which
linear layers must be cut together; what to cut is decided elsewhere. Every group is compared with
what the model's family is known to couple (``families``) before anything is cut. A trace can miss an edge
or lose an index mapping without an error (fused projections, tables of positions), and such parts are
said to be untraced; whatever the graph says, the cut model must answer an example as the whole one does
whose removed units give zero, or the model is refused. ``BasePruner`` is not used: it over-prunes, silently
prunes nothing in some set-ups, and leaks state between models through mutable defaults (1.6.1).

Attention in transformers 5 mostly infers the number of heads from the width; the counts kept as
attributes are set all the same, since DeBERTa-v2 reads them and ``checkpoint`` records them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import torch_pruning
from torch import nn

from compress.errors import ModelError
from compress.model.layers import describe_outputs, first_is_fixed, number, shorten
from compress.pruning.anatomy import Part, layer_lists, layers_of, parts_of, rows_of
from compress.pruning.families import Cuttable, family_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# By how much a cut model may differ from a masked one: shares of what the masks change, and of the answer.
_EFFECT, _SCALE = 1e-2, 1e-3


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
    going = [part for part in parts if len(by_part[part.name]) < part.units]
    check(model, {part.kind for part in going})
    if going:
        model.eval()
        with torch.no_grad():
            uncut = _answer(model)
            with masked(model, plan):
                expected = _answer(model)
        traced = [part for part in going if part.traced]
        graph = dependency_graph(model) if traced else None
        for part in traced:
            _check_group(graph, model, part, by_part[part.name])
        for part in going:
            _cut(model, part, by_part[part.name])
        _check_answer(model, uncut, expected)
    if plan.layers is not None:
        keep_layers(model, plan.layers)
    _describe(model)


def check(model: PreTrainedModel, kinds: Collection[Cuttable]) -> None:
    """Refuse to cut what a model's family cannot lose.

    Args:
        model: the model.
        kinds: what shall be cut.

    Raises:
        ModelError: one of them cannot; the message says which can.
    """
    fixed = dict(family_of(model).fixed)
    if getattr(model.config, "use_weighted_layer_sum", False):
        fixed["layers"] = "it weighs the outputs of its layers one by one (use_weighted_layer_sum)"
    if getattr(model.config, "scale_attn_by_inverse_layer_idx", False):
        fixed["layers"] = (
            "it scales attention by the number of each layer (scale_attn_by_inverse_layer_idx), and distill "
            "alone trains it for other numbers"
        )
    names: dict[Cuttable, str] = {"heads": "heads", "ffn": "FFN neurons", "layers": "layers"}
    refused = [kind for kind in names if kind in kinds and kind in fixed]
    if not refused:
        return
    free = [kind for kind in names if kind not in fixed]
    reasons = "; ".join(dict.fromkeys(fixed[kind] for kind in refused))
    options = " and ".join(f"'{kind}: 1'" for kind in refused)
    raise ModelError(
        f"a {type(model).__name__} cannot lose {' or '.join(names[kind] for kind in refused)}: "
        f"{reasons}. Say {options}: what can be pruned is {' and '.join(free) or 'nothing'}; "
        "export-onnx, quantize-onnx and half-precision take the model as it is, and 'distill: {student: "
        "FOLDER}' teaches a smaller one"
    )


def keep_layers(model: PreTrainedModel, indices: Sequence[int]) -> None:
    """Remove every other layer, in place; the configuration then counts those that stay.

    Raises:
        ModelError: the family is not known or cannot lose layers, or its first layer must stay.
        ValueError: the indices are not ascending indices of layers.
    """
    layers = layers_of(model)
    if (
        not indices
        or list(indices) != sorted(set(indices))
        or not 0 <= indices[0] <= indices[-1] < len(layers)
    ):
        raise ValueError(f"layers to keep: {list(indices)}, of a model with {len(layers)}")
    check(model, {"layers"})
    if indices[0] != 0 and first_is_fixed(layers):
        raise ModelError(
            f"the first layer of a {type(model).__name__} is built unlike the others and must stay: keep "
            f"layers that begin with 0, not {list(indices)}"
        )
    family = family_of(model)
    (holder,) = layer_lists(model)
    path, _, name = family.layers.rpartition(".")
    owner = model.base_model.get_submodule(path) if path else model.base_model
    staying = nn.ModuleList([holder[index] for index in indices])
    setattr(owner, name, staying)
    for attribute in family.layer_counts:
        setattr(owner, attribute, len(staying))
    number(staying)
    shorten(model.config, len(layers), indices)
    describe_outputs(model.config)


@contextmanager
def masked(model: PreTrainedModel, plan: Plan) -> Iterator[None]:
    """The model as if the plan's removed units gave zero, without cutting (layers are not masked)."""
    handles = []
    try:
        for part in parts_of(model):
            units = plan.units.get(part.name)
            if units is not None:
                mask = torch.zeros(part.units * part.width, device=model.device)
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
    for kind in ("heads", "ffn"):
        tied = {tuple(by_part[part.name]) for part in parts if part.tied and part.kind == kind}
        if len(tied) > 1:
            raise ValueError(f"the {kind} of all layers share a table, and the plan keeps others in each")
    return by_part


def _example(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """One small input, the same at every call, that the model is traced and compared on."""
    device, config = model.device, model.config
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    if model.main_input_name == "pixel_values":
        # CLIP and SigLIP keep the size in a part of their own; a network of convolutions takes any.
        vision = getattr(config, "vision_config", config)
        size = getattr(vision, "image_size", None) or 64
        height, width = size if isinstance(size, tuple | list) else (size, size)
        return {"pixel_values": noise(1, getattr(vision, "num_channels", 3), height, width)}
    if model.main_input_name == "input_features":  # two frames a position
        return {"input_features": noise(1, config.num_mel_bins, 2 * config.max_source_positions)}
    if model.main_input_name == "input_values":  # long enough for the usual stack of convolutions
        return {"input_values": noise(1, 4000)}
    ids = torch.randint(config.vocab_size, (1, 7), generator=generator).to(device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _answer(model: PreTrainedModel) -> torch.Tensor:
    """What the model answers to the example."""
    answer: torch.Tensor = model(**_example(model)).to_tuple()[0]
    return answer


@torch.no_grad()
def _check_answer(model: PreTrainedModel, uncut: torch.Tensor, expected: torch.Tensor) -> None:
    """Refuse a cut model that answers otherwise than the whole one with its removed units at zero.

    Raises:
        ModelError: it does.
    """
    difference = (_answer(model) - expected).abs().max()
    limit = _EFFECT * (expected - uncut).abs().max() + _SCALE * expected.abs().max()
    if not bool(difference <= limit):
        raise ModelError(
            f"{type(model).__name__}: without the removed units it answers otherwise than with them at zero "
            f"(by {float(difference):.2g}); this version of transformers builds it in another way than "
            "paredown expects, so it cannot be pruned"
        )


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


def _check_group(
    graph: torch_pruning.DependencyGraph, model: PreTrainedModel, part: Part, units: Sequence[int]
) -> None:
    """Compare what the graph couples with what the family does.

    Raises:
        ModelError: they differ.
    """
    staying = set(units)
    gone = [unit for unit in range(part.units) if unit not in staying]
    root = part.rows[0]
    group = graph.get_pruning_group(
        root, torch_pruning.prune_linear_out_channels, idxs=part.rows_of(gone, root)
    )
    coupled = {
        (dependency.target.module, graph.is_out_channel_pruning_fn(dependency.handler)): sorted(indices)
        for dependency, indices in group
        if holds_weights(dependency.target.module)
    }
    expected = {(linear, True): part.rows_of(gone, linear) for linear in part.rows}
    expected[part.columns, False] = rows_of(gone, part.width)
    if coupled != expected:
        names = {module: name for name, module in model.named_modules()}
        met = ", ".join(sorted(names.get(module, "a bare parameter") for module, _ in coupled))
        raise ModelError(
            f"{type(model).__name__}: cutting {part.name} would touch {met}, which is not what its family "
            "couples; this version of transformers builds it in another way, so it cannot be pruned"
        )


def _cut(model: PreTrainedModel, part: Part, units: Sequence[int]) -> None:
    """Keep some units of a part; cut parameters are new ones, frozen where the old ones were."""
    rows = [part.rows_of(units, linear) for linear in part.rows]
    columns = rows_of(units, part.width)
    for linear, indices in zip(part.rows, rows, strict=True):
        _keep(linear, "weight", indices, 0 if isinstance(linear, nn.Linear) else 1)
        if getattr(linear, "bias", None) is not None:
            _keep(linear, "bias", indices, 0)
    _keep(part.columns, "weight", columns, 1 if isinstance(part.columns, nn.Linear) else 0)
    for owner, name in part.tables:
        _keep(owner, name, units, 1)
    for module in (*part.rows, part.columns, *(owner for owner, _ in part.tables)):
        _describe_sizes(module)
    if part.kind == "heads":
        _count_heads(model, part, len(units))


def _keep(module: nn.Module, name: str, indices: Sequence[int], axis: int) -> None:
    """Keep some entries of a parameter's axis."""
    old = module.get_parameter(name)
    entries = old.detach().index_select(axis, torch.tensor(indices, device=old.device)).clone()
    setattr(module, name, nn.Parameter(entries, requires_grad=old.requires_grad))


def _describe_sizes(module: nn.Module) -> None:
    """Set the attributes that hold the sizes of a module's weight."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape


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
    family, parts, config = family_of(model), parts_of(model), model.config
    widths = {part.units for part in parts if part.kind == "ffn"}
    if len(widths) == 1:
        width = widths.pop()
        if family.config_width is not None:
            setattr(config, family.config_width, width)
        elif family.config_ratio is not None and width % config.hidden_size == 0:
            setattr(config, family.config_ratio, width // config.hidden_size)
    heads = {(part.units, part.width) for part in parts if part.kind == "heads"}
    if len(heads) != 1 or family.config_size is None:
        return
    count, width = heads.pop()
    size = getattr(layers_of(model)[0].get_submodule(family.attention), family.size)
    number = count * width // size
    # Llama's and EuroBERT's are refused when they are read, though a head size of their own would fit.
    strict = hasattr(type(config), "validate_architecture") and config.hidden_size % number
    if number != config.num_attention_heads and not strict:
        config.num_attention_heads = number
        if family.groups:
            config.num_key_value_heads = count
        setattr(config, family.config_size, size)
