"""What sentence-transformers puts a cross-encoder's one output through, as its configuration names it.

The name is a class's import path there. Nothing is imported by it here: names that are known stand in a
table, any other is refused. All of them rise with the output, so that no order depends on which it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.errors import ModelError
from compress.tasks import Activation
from compress.tasks import _scores as scores

SECTION, FIELD = "sentence_transformers", "activation_fn"
OLD_FIELD = "sbert_ce_default_activation_function"
DEFAULT: Activation = "sigmoid"  # that of sentence-transformers for one output
_NAMES: dict[str, Activation] = {
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.Sigmoid": "sigmoid",
    "torch.nn.Identity": "identity",
    "torch.nn.Tanh": "tanh",
}


def marks(config: Mapping[str, Any]) -> str | None:
    """The field by which a ``config.json`` says that it is of a cross-encoder; None where none does."""
    section = config.get(SECTION)
    if isinstance(section, Mapping) and FIELD in section:
        return f"{SECTION}.{FIELD}"
    return OLD_FIELD if config.get(OLD_FIELD) is not None else None


def named(config: Mapping[str, Any]) -> Activation:
    """The activation that a ``config.json`` names, or the default of sentence-transformers.

    Raises:
        ModelError: it is none of those that are known.
    """
    field = marks(config)
    if field is None:
        return DEFAULT
    name = config[OLD_FIELD] if field == OLD_FIELD else config[SECTION][FIELD]
    if not isinstance(name, str) or name not in _NAMES:
        raise ModelError(
            f"config.json names the activation {str(name)[:120]!r} ({field}), and nothing is imported by a "
            f"name in a file: allowed are {', '.join(list(_NAMES)[:3])}; write the one that the model was "
            "trained with there (no order depends on it)"
        )
    return _NAMES[name]


def write(config: Any, activation: Activation) -> None:
    """Name an activation in a transformers configuration, as sentence-transformers reads it."""
    name = next(name for name, known in _NAMES.items() if known == activation)
    setattr(config, SECTION, {**(getattr(config, SECTION, None) or {}), FIELD: name})
    if hasattr(config, OLD_FIELD):
        delattr(config, OLD_FIELD)


def of(value: float, activation: Activation) -> float:
    """One output put through an activation."""
    if activation == "tanh":
        return math.tanh(value)
    return float(scores.sigmoid(np.asarray(value))) if activation == "sigmoid" else value
