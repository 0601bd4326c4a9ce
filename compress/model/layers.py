"""The stack of layers of an encoder: where it is, how long, and the Linears inside its attention.

Works on what transformer encoders share: one ``ModuleList`` with as many entries as the config
counts layers. optimum's NormalizedConfigManager knows what each architecture calls that count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from compress.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

_COUNTS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
_NUMBERS = ("layer_idx", "layer_id")
_QKV = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("q", "k", "v"),
)


# What configurations list layer by layer.
_BY_LAYER = (
    "layer_types",
    "mlp_layer_types",
    "layers_block_type",
    "attention_layers",
    "attention_window",
    "attn_layers",
    "no_rope_layers",
    "sliding_windows",
)


@dataclass(frozen=True)
class Stack:
    """The layers of an encoder.

    Attributes:
        name: of the list in the model, such as ``bert.encoder.layer``.
        layers: the list itself.
        parent: the module that holds it.
        count: the config's name for the number of layers.
    """

    name: str
    layers: nn.ModuleList
    parent: nn.Module
    count: str

    def __len__(self) -> int:
        """How many layers there are."""
        return len(self.layers)

    def replace(self, layers: list[nn.Module]) -> None:
        """Put other layers in their place, numbered anew; the config is not touched."""
        number(layers)
        setattr(self.parent, self.name.rsplit(".", 1)[-1], nn.ModuleList(layers))


def number(layers: Iterable[nn.Module]) -> None:
    """Tell layers, and the modules in them that keep it, where each stands now: caches are kept by number."""
    for position, layer in enumerate(layers):
        for module in layer.modules():
            for name in _NUMBERS:
                if isinstance(getattr(module, name, None), int):
                    setattr(module, name, position)


def count_name(config: PretrainedConfig) -> str:
    """What the config calls its number of layers.

    Raises:
        ModelError: the config counts no layers under a known name.
    """
    from optimum.utils import NormalizedConfigManager

    names: tuple[str, ...] = ()
    # The public getter raises on types that it does not know.
    if config.model_type in NormalizedConfigManager._conf:
        normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
        names = tuple(n for n in (getattr(type(normalized), "NUM_LAYERS", None),) if n)
    for name in (*names, *_COUNTS):
        if isinstance(getattr(config, name, None), int):
            return name
    raise ModelError(
        f"a model of type '{config.model_type}' does not say how many layers it has "
        f"(none of {', '.join(_COUNTS)} in its config): its depth cannot be changed"
    )


def first_is_fixed(layers: Iterable[nn.Module]) -> bool:
    """Whether only layer 0 can stand first, since its parameters are others.

    ModernBERT's has no norm, and WavLM's holds the positions of all.
    """
    names = [{name for name, _ in layer.named_parameters()} for layer in layers]
    return any(layer_names != names[0] for layer_names in names[1:])


def shorten(config: PretrainedConfig, depth: int, chosen: Sequence[int]) -> dict[str, Any]:
    """Let a config count some of its layers alone, lists by layer included; what it said before.

    Args:
        config: changed in place.
        depth: how many layers there are.
        chosen: those that stay.
    """
    count = count_name(config)
    before: dict[str, Any] = {count: getattr(config, count)}
    for name in _BY_LAYER:
        values = getattr(config, name, None)
        if isinstance(values, list | tuple) and len(values) == depth:
            before[name] = values
            setattr(config, name, [values[index] for index in chosen])
    setattr(config, count, len(chosen))
    return before


def describe_outputs(config: PretrainedConfig) -> None:
    """Let the fields of a backbone, which classification does not read, name layers that there are."""
    names = getattr(config, "stage_names", None)
    if names is not None:
        config.stage_names = names[: config.num_hidden_layers + 1]
        config.set_output_features_output_indices(out_features=None, out_indices=None)


def find_stack(model: PreTrainedModel) -> Stack:
    """The encoder's list of layers.

    Raises:
        ModelError: no list, or more than one, has as many entries as the config counts layers.
    """
    count = count_name(model.config)
    depth = getattr(model.config, count)
    lists = [
        (name, module)
        for name, module in model.named_modules()
        # A weight norm keeps its parts in a list too, which is none of layers (wav2vec2, one layer deep).
        if isinstance(module, nn.ModuleList)
        and not isinstance(module, ParametrizationList)
        and len(module) == depth
    ]
    # A list inside a layer (experts, say) may have the same length by chance: the outermost counts.
    outer = [(n, m) for n, m in lists if not any(n.startswith(f"{parent}.") for parent, _ in lists)]
    if len(outer) != 1:
        names = ", ".join(name for name, _ in outer) or "none"
        raise ModelError(
            f"a {type(model).__name__} with {depth} layers should hold one list of {depth} layers; "
            f"found: {names}. Models that share or split their layers cannot be cut by depth."
        )
    name, layers = outer[0]
    return Stack(name=name, layers=layers, parent=model.get_submodule(name.rpartition(".")[0]), count=count)


def attention_linears(layer: nn.Module) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    """The query, key and value Linears of a layer.

    Raises:
        ModelError: the layer has no three separate ones under a known name.
    """
    by_leaf: dict[str, list[nn.Linear]] = {}
    for name, module in layer.named_modules():
        if isinstance(module, nn.Linear):
            by_leaf.setdefault(name.rsplit(".", 1)[-1], []).append(module)
    for names in _QKV:
        if all(len(by_leaf.get(name, ())) == 1 for name in names):
            query, key, value = (by_leaf[name][0] for name in names)
            return query, key, value
    raise ModelError(
        f"a {type(layer).__name__} has no separate query, key and value Linears "
        f"(found: {', '.join(sorted(by_leaf)) or 'no Linear'}): attention relations cannot be distilled; "
        "use a student of the teacher's width, so that hidden states can be matched instead"
    )


def real_tokens(inputs: Mapping[str, torch.Tensor], length: int) -> torch.Tensor | None:
    """Boolean [batch, length] mask of real tokens; None where all positions are real.

    Rows of several texts, [batch, length, texts], are seen text by text, as their encoder sees them.

    Args:
        inputs: the model's inputs.
        length: positions of the hidden states; a mask of another length (raw audio) does not apply.
    """
    mask = inputs.get("attention_mask")
    if mask is not None and mask.ndim == 3:
        mask = mask.transpose(1, 2).reshape(-1, mask.shape[1])
    if mask is None or mask.ndim != 2 or mask.shape[1] != length:
        return None
    return mask.bool()
