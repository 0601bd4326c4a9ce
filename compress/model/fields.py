"""The fields of ``config.json`` that decide what is built: their types and bounds, read once.

A wrong type would surface deep inside a library, and a billion layers would only hang: both are named
here, file and field, before anything is allocated.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from compress.errors import ModelError

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim", "embedding_size", "d_embed")
_INNER = ("intermediate_size", "d_ff", "d_inner", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")

# The least and the most that a single number may be.
_BOUNDS = {
    **dict.fromkeys(_LAYERS, (0, 2_048)),
    **dict.fromkeys((*_WIDTHS, *_INNER), (1, 2**20)),
    **dict.fromkeys(_HEADS, (1, 2**14)),
    "vocab_size": (1, 2**26),
    "type_vocab_size": (0, 2**16),
    "max_position_embeddings": (-1, 2**26),
    "image_size": (1, 2**14),
    "patch_size": (1, 2**14),
    "num_channels": (1, 2**10),
    "num_labels": (0, 2**24),
}
# Multi-stage models give one number a stage.
_MAY_BE_LISTS = frozenset({*_LAYERS, *_HEADS, *_WIDTHS, *_INNER, "image_size", "patch_size"})
# What counts modules that are built one after the other, under any name (depths, block_sizes, num_stages): a
# loop over a billion never ends, whatever memory there is. Some are widths of blocks, hence the room.
_COUNTS = re.compile("^(?!.*vocab).*(layer|depth|block|stage|group|repeat|expert|register)")
_MOST_COUNTED = 2**14
_DTYPES = ("float32", "float16", "bfloat16", "float64", "auto")


def check(content: Mapping[str, Any], place: str) -> None:
    """Refuse a configuration whose fields have a wrong type or an absurd size.

    Args:
        content: of ``config.json``, or the ``architecture`` of a recipe.
        place: what an error calls it: the file's path.

    Raises:
        ModelError: the field is named, with what it holds and what is allowed.
    """
    for name, value in content.items():
        _check_field(name, value, place)
    for name, value in content.items():
        if name.endswith("_config") and name != "quantization_config" and isinstance(value, Mapping):
            check(value, f"{place}, {name}")
    _check_memory(content, place)


def _check_field(name: str, value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise _wrong(name, value, place, "a finite number")
    if name in _BOUNDS:
        _check_number(name, value, place)
    elif _COUNTS.match(name):
        _check_counts(name, value, place)
    elif name in {"hidden_act", "model_type", "problem_type"}:
        if value is not None and not isinstance(value, str):
            raise _wrong(name, value, place, "a name")
    elif name == "architectures":
        if value is not None and not (isinstance(value, list) and all(isinstance(n, str) for n in value)):
            raise _wrong(name, value, place, "a list of class names")
    elif name in {"dtype", "torch_dtype"}:
        if value is not None and (not isinstance(value, str) or value.removeprefix("torch.") not in _DTYPES):
            raise _wrong(name, value, place, f"one of {', '.join(_DTYPES)}")
    elif name in {"id2label", "label2id"}:
        _check_labels(name, value, place)
    elif name == "quantization_config" and value is not None:
        raise ModelError(
            f"{place}: quantization_config says that the weights are quantized already, which paredown does "
            "not read: give the model with its weights in FP32, FP16 or BF16"
        )


def _check_number(name: str, value: Any, place: str) -> None:
    least, most = _BOUNDS[name]
    several = name in _MAY_BE_LISTS and isinstance(value, list | tuple) and len(value) > 0
    for number in value if several else [value]:
        # null asks for the class's own default.
        if number is None:
            continue
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise _wrong(name, value, place, f"a whole number from {least} to {most}")


def _check_counts(name: str, value: Any, place: str) -> None:
    """Refuse an endless number of modules, also in lists; what is no whole number the class reads itself."""
    if isinstance(value, list | tuple):
        for element in value:
            _check_counts(name, element, place)
    elif isinstance(value, int) and not -_MOST_COUNTED <= value <= _MOST_COUNTED:
        raise _wrong(name, value, place, f"a whole number up to {_MOST_COUNTED:,}")


def _check_labels(name: str, value: Any, place: str) -> None:
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise _wrong(name, value, place, "a table of labels")
    for number in value if name == "id2label" else value.values():
        if not str(number).isdecimal():
            raise _wrong(name, value, place, "labels by whole numbers from 0")


def _check_memory(content: Mapping[str, Any], place: str) -> None:
    """A lower bound of the weights, from the widths alone, against the whole memory of the machine."""
    width = _most(content, _WIDTHS)
    # ALBERT's layers share their weights.
    layers = 1 if "num_hidden_groups" in content else _most(content, _LAYERS)
    rows = content.get("vocab_size") or 0
    table = _most(content, ("embedding_size",)) or width
    parameters = layers * width * (2 * width + _most(content, _INNER)) + rows * table
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 4 * parameters > memory:
        raise ModelError(
            f"{place} asks for a model of at least {parameters:,} parameters, {4 * parameters / 1e9:,.0f} GB "
            f"in FP32, and this machine has {memory / 1e9:,.0f} GB: take a smaller model or a larger machine"
        )


def _most(content: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return max((value for name in names if isinstance(value := content.get(name), int)), default=0)


def _wrong(name: str, value: Any, place: str, allowed: str) -> ModelError:
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return ModelError(f"{place}: {name} is {text}, allowed is {allowed}: get the model folder again")
