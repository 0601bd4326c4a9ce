"""Where a model's inputs become vectors."""

from __future__ import annotations

from torch import nn

from compress.articles import a_type
from compress.errors import ModelError


def input_embeddings(model: nn.Module, option: str) -> nn.Module:
    """The module that turns tokens or patches into vectors [batch, length, width].

    Args:
        model: a transformers model.
        option: what needs it, for the refusal.

    Raises:
        ModelError: the model names none.
    """
    try:
        embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError) as cause:
        raise ModelError(f"{a_type(model)} names no input embeddings: leave {option} off") from cause
    return embeddings
