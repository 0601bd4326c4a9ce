"""The token limit of a model: what it takes, and what the rows need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compress import data
from compress.errors import ModelError
from compress.model.limit import Limit
from compress.model.positions import OFFSET_POSITIONS

if TYPE_CHECKING:
    import numpy as np
    from transformers import PretrainedConfig


_SCALES = {"samples": 120}


def scaled(tokens: int, unit: str) -> int:
    """A bound that is thought in tokens, in what another task counts.

    Of sounds it is 120 samples in the place of a token, so that 4,096 tokens are 30 seconds at 16 kHz.
    """
    return tokens * _SCALES.get(unit, 1)


def positions(config: PretrainedConfig) -> int | None:
    """Tokens that fit a model's position table; None where it has none."""
    table = getattr(config, "max_position_embeddings", None)
    # Relative positions: XLNet says -1, and DeBERTa's table may be there and not be used.
    if not isinstance(table, int) or table < 1 or getattr(config, "position_biased_input", True) is False:
        return None
    offset = (config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0
    return table - offset


def longest(config: PretrainedConfig, processor: Any) -> int | None:
    """Tokens that model and tokenizer take; None where neither has a limit."""
    # A tokenizer without a limit says 10**30.
    of_tokenizer = getattr(processor, "model_max_length", None)
    limits = [n for n in (positions(config), of_tokenizer) if n is not None and 0 < n < 10**6]
    return min(limits) if limits else None


def choose(limit: int | str | None, lengths: np.ndarray | None, bound: Limit, unit: str = "tokens") -> Limit:
    """The limit of what is made of a model.

    Args:
        limit: by data.max_length: a number; ``data`` for that of the training rows; None for the model's own.
        lengths: tokens of each training row, specials included; None where there are none.
        bound: the model's limit.
        unit: what a length counts.

    Raises:
        ModelError: more was asked for than the model takes.
    """
    if limit is None or (limit == "data" and lengths is None):
        return bound
    if isinstance(limit, int):
        if bound.tokens is not None and limit > bound.tokens:
            raise ModelError(
                f"data.max_length is {limit} and the model takes at most {bound.tokens} {unit}: lower it"
            )
        return Limit(limit, "recipe")
    return Limit(data.choose_max_length(lengths, bound.tokens)[0], "rows")


def within(limit: Limit, config: PretrainedConfig) -> Limit:
    """A limit, lowered to what another model's position table has room for."""
    room = positions(config)
    if room is None or (limit.tokens is not None and limit.tokens <= room):
        return limit
    return Limit(room, "model")
