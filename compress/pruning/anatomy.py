"""Where a transformer keeps its layers, heads and FFN neurons, one description a model family.

Pruning, signals and reconstruction all see a model as a list of ``Part``: the attention heads or the
FFN neurons of one layer. A part is a few linear layers whose output rows belong to its units, and one
linear layer whose input columns do; a unit is a head (``width`` rows) or a neuron (one row).

The description names what is expected; ``surgery`` checks it against torch-pruning's graph of the
model, so that a family that changes its wiring in a later transformers is refused, not cut wrongly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from compress.criteria import Structure
from compress.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PartKind = Literal["heads", "ffn"]
Side = Literal["input", "output"]


@dataclass(frozen=True)
class Family:
    """The names of one model family; paths are below a layer unless said otherwise.

    Attributes:
        layers: path of the ``ModuleList`` of layers, below the base model.
        attention: the module that carries head counts and sizes.
        projections: linear layers whose output rows belong to heads; those that a model lacks
            (DeBERTa's position projections) are left out.
        attention_out: the linear layer that mixes the heads.
        ffn_in: the linear layer whose output rows are the FFN's neurons.
        ffn_out: the linear layer that mixes the neurons.
        attention_sum: where the residual stream can be read after attention: a module, and whether
            its input or its output is the stream.
        ffn_sum: the same after the FFN; an empty path is the layer itself.
        size: attribute of ``attention`` that holds the head size.
        counts: attributes of ``attention`` that hold the number of heads.
        totals: attributes of ``attention`` that hold heads times head size.
        config_width: the configuration's name for the FFN width.
        config_size: the configuration's name for the head size, where setting it lets the
            configuration express fewer heads; None where the head size is always hidden / heads.
        layer_counts: attributes of the module above the layers that hold their number.
    """

    layers: str
    attention: str
    projections: tuple[str, ...]
    attention_out: str
    ffn_in: str
    ffn_out: str
    attention_sum: tuple[str, Side]
    ffn_sum: tuple[str, Side]
    size: str
    counts: tuple[str, ...]
    totals: tuple[str, ...] = ()
    config_width: str = "intermediate_size"
    config_size: str | None = None
    layer_counts: tuple[str, ...] = ()


_BERT = Family(
    layers="encoder.layer",
    attention="attention.self",
    projections=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_out="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    attention_sum=("attention.output.LayerNorm", "input"),
    ffn_sum=("output.LayerNorm", "input"),
    size="attention_head_size",
    counts=("num_attention_heads",),
    totals=("all_head_size",),
)
_DISTILBERT = Family(
    layers="transformer.layer",
    attention="attention",
    projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_out="attention.out_lin",
    ffn_in="ffn.lin1",
    ffn_out="ffn.lin2",
    attention_sum=("sa_layer_norm", "input"),
    ffn_sum=("output_layer_norm", "input"),
    size="attention_head_size",
    counts=("n_heads",),
    config_width="hidden_dim",
    layer_counts=("n_layers",),
)
_DEBERTA = Family(
    layers="encoder.layer",
    attention="attention.self",
    projections=(
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
        "attention.self.pos_key_proj",
        "attention.self.pos_query_proj",
    ),
    attention_out="attention.output.dense",
    ffn_in="intermediate.dense",
    ffn_out="output.dense",
    attention_sum=("attention.output.LayerNorm", "input"),
    ffn_sum=("output.LayerNorm", "input"),
    size="attention_head_size",
    # Forward splits by this count: left as it was, the result would be wrong without an error.
    counts=("num_attention_heads",),
    totals=("all_head_size",),
)
_VIT = Family(
    layers="layers",
    attention="attention",
    projections=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    attention_out="attention.o_proj",
    ffn_in="mlp.fc1",
    ffn_out="mlp.fc2",
    attention_sum=("layernorm_after", "input"),
    ffn_sum=("", "output"),
    size="head_dim",
    counts=("num_attention_heads",),
    config_size="head_dim",
)
_WAV2VEC2 = Family(
    layers="encoder.layers",
    attention="attention",
    projections=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    attention_out="attention.out_proj",
    ffn_in="feed_forward.intermediate_dense",
    ffn_out="feed_forward.output_dense",
    attention_sum=("layer_norm", "input"),
    ffn_sum=("final_layer_norm", "input"),
    size="head_dim",
    counts=("num_heads",),
)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "camembert": _BERT,
    "deberta-v2": _DEBERTA,
    "deit": _VIT,
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "hubert": _WAV2VEC2,
    "roberta": _BERT,
    "vit": _VIT,
    "wav2vec2": _WAV2VEC2,
    "xlm-roberta": _BERT,
}


@dataclass(frozen=True)
class Part:
    """The heads or the FFN neurons of one layer, as they are in the model now.

    Attributes:
        layer: index of the layer in the model.
        kind: what a unit is.
        rows: linear layers whose output rows belong to the units.
        columns: the linear layer whose input columns belong to the units.
        width: rows a unit: the head size, or 1.
    """

    layer: int
    kind: PartKind
    rows: tuple[nn.Linear, ...]
    columns: nn.Linear
    width: int

    @property
    def name(self) -> str:
        """Such as ``layer.3.heads``."""
        return f"layer.{self.layer}.{self.kind}"

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.columns.in_features) // self.width

    @property
    def unit_parameters(self) -> int:
        """How many parameters one unit has: its rows, their biases and its columns."""
        rows = sum(linear.in_features + (linear.bias is not None) for linear in self.rows)
        return self.width * (rows + self.columns.out_features)

    def structure(self) -> Structure:
        """The part's tensors as a criterion sees them (views, detached)."""
        return Structure(
            name=self.name,
            kind=self.kind,
            units=self.units,
            width=self.width,
            rows=tuple(linear.weight.detach() for linear in self.rows),
            columns=(self.columns.weight.detach(),),
            biases=tuple(linear.bias.detach() for linear in self.rows if linear.bias is not None),
        )


def family_of(model: PreTrainedModel) -> Family:
    """The description of a model's family.

    Raises:
        ModelError: the family is not known.
    """
    kind = getattr(model.config, "model_type", None)
    if kind not in FAMILIES:
        raise ModelError(
            f"A {type(model).__name__} (type '{kind}') cannot be pruned: paredown knows the layers of "
            f"{', '.join(sorted(FAMILIES))}. Leave the prune stage out, or start from one of these."
        )
    if getattr(model.config, "do_stable_layer_norm", False):  # pre-norm variant of the wav2vec2 family
        return replace(FAMILIES[kind], attention_sum=("final_layer_norm", "input"), ffn_sum=("", "output"))
    return FAMILIES[kind]


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The model's layers, in order.

    Raises:
        ModelError: the family is not known, or the model is not built as its family is.
    """
    layers = _submodule(model, model.base_model, family_of(model).layers)
    if not isinstance(layers, nn.ModuleList):
        raise ModelError(f"{type(model).__name__}: '{family_of(model).layers}' is no list of layers")
    return layers


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
        if len(present) < 3 or not isinstance(size, int):
            raise ModelError(
                f"{type(model).__name__}: layer {index} is not built as this version of paredown expects "
                f"({', '.join(family.projections[:3])} and {family.size}), so it cannot be pruned"
            )
        projections = tuple(_linear(model, layer, path) for path in present)
        parts.append(Part(index, "heads", projections, _linear(model, layer, family.attention_out), size))
        ffn_in, ffn_out = _linear(model, layer, family.ffn_in), _linear(model, layer, family.ffn_out)
        parts.append(Part(index, "ffn", (ffn_in,), ffn_out, 1))
    return parts


def stream_after(model: PreTrainedModel, part: Part) -> tuple[nn.Module, Side]:
    """The module at whose input or output the residual stream can be read after a part was added."""
    family = family_of(model)
    path, side = family.attention_sum if part.kind == "heads" else family.ffn_sum
    layer = layers_of(model)[part.layer]
    return (_submodule(model, layer, path) if path else layer), side


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


def _linear(model: nn.Module, layer: nn.Module, path: str) -> nn.Linear:
    module = _submodule(model, layer, path)
    if not isinstance(module, nn.Linear):
        raise ModelError(
            f"{type(model).__name__}: '{path}' is a {type(module).__name__}, and only plain linear layers "
            "can be pruned: prune before quantizing or adding adapters"
        )
    return module
