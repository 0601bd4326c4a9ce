"""The token limit of a model: what it takes, and what the rows need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compress import data
from compress.errors import ModelError
from compress.model.positions import OFFSET_POSITIONS

if TYPE_CHECKING:
    import numpy as np
    from transformers import PretrainedConfig


def positions(config: PretrainedConfig) -> int | None:
    """Tokens that fit a model's position table; None where it has none."""
    table = getattr(config, "max_position_embeddings", None)
    # XLNet says -1: its positions are relative and have no table.
    if not isinstance(table, int) or table < 1:
        return None
    offset = (config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0
    return table - offset


def longest(config: PretrainedConfig, processor: Any) -> int | None:
    """Tokens that model and tokenizer take; None where neither has a limit."""
    # A tokenizer without a limit says 10**30.
    of_tokenizer = getattr(processor, "model_max_length", None)
    limits = [n for n in (positions(config), of_tokenizer) if n is not None and 0 < n < 10**6]
    return min(limits) if limits else None


def choose(lengths: np.ndarray, *, asked: int | None, most: int | None) -> tuple[int, float]:
    """The limit, and the share of rows that it cuts.

    Args:
        lengths: tokens of each training row, specials included.
        asked: the limit that the data's configuration names, which is then taken.
        most: what the model takes.

    Raises:
        ModelError: more was asked for than the model takes.
    """
    if asked is None:
        return data.choose_max_length(lengths, most)
    if most is not None and asked > most:
        raise ModelError(f"data.max_length is {asked} and the model takes at most {most} tokens: lower it")
    return asked, float((lengths > asked).mean())
