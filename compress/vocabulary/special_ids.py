"""The ids of pieces that configurations name: padding, the beginning and end of a text, and their like."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_FIELD = re.compile(r".*_token_id|.*_token_index|(pad|bos|eos|unk|mask)_index")
# Of a generation: whole lists of ids, in forms of their own.
_OTHERS = re.compile(r".*_tokens|.*_ids|.*_words_ids|sequence_bias")


def named(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The ids that a configuration names, by field; a field may hold several."""
    for field, value in config.items():
        if _FIELD.fullmatch(field):
            for number in value if isinstance(value, list | tuple) else [value]:
                if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
                    yield field, number


def names_others(config: Mapping[str, Any]) -> bool:
    """Whether a configuration of generation lists ids in other ways than one a field."""
    return any(
        isinstance(value, list | dict) and value and _OTHERS.fullmatch(field) and not _FIELD.fullmatch(field)
        for field, value in config.items()
    )


def moved(config: Mapping[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """The fields that change, with their new ids; an id that no piece had stays as it is."""
    fresh: dict[str, Any] = {}
    for field in dict.fromkeys(field for field, _ in named(config)):
        value = config[field]
        if isinstance(value, list | tuple):
            fresh[field] = [new_ids.get(number, number) for number in value]
        else:
            fresh[field] = new_ids.get(value, value)
    return fresh
