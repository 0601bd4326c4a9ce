"""The fields of a tokenizer's files that decide what it gives: their types, by file and field.

transformers takes any value and stumbles over it with the first text, deep inside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from compress.errors import ModelError
from compress.reading import json_values

_CONFIG = "tokenizer_config.json"
_SPECIALS = "special_tokens_map.json"
_OBJECTS = (_CONFIG, _SPECIALS, "added_tokens.json", "tokenizer.json")
_UNLIMITED = 10**6  # a tokenizer without a limit says 10**30, at times as a float


def check(folder: Path) -> None:
    """Refuse tokenizer files whose fields have a wrong type.

    Args:
        folder: of the model; a file that is not there is not looked for.

    Raises:
        ModelError: the file and the field are named, with what it holds and what is allowed.
    """
    for name in _OBJECTS:
        file = folder / name
        if not file.is_file():
            continue
        content = json_values.read(file, error=ModelError)
        if not isinstance(content, dict):
            raise ModelError(f"{file} holds no JSON object: {_REMEDY}")
        for field, value in content.items():
            _check(name, field, value, str(file))


def _check(name: str, field: str, value: Any, place: str) -> None:
    if name == "added_tokens.json":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _wrong(field, value, place, "an id, a whole number from 0")
        return
    if name == _CONFIG and field in _FIELDS:
        right, allowed = _FIELDS[field]
        if not right(value):
            raise _wrong(field, value, place, allowed)
    elif name in (_CONFIG, _SPECIALS) and field.endswith("_token") and not _is_token(value):
        raise _wrong(field, value, place, "a token: a text, an object with its content, or null")


def _is_token(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("content"), str)
    # add_bos_token and its like are switches.
    return value is None or isinstance(value, str | bool)


def _is_length(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 1 and (isinstance(value, int) or value >= _UNLIMITED)


def _is_side(value: Any) -> bool:
    return value in ("left", "right") and isinstance(value, str)


_REMEDY = "get the whole model folder again"
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model_max_length": (_is_length, "a whole number of tokens from 1, or null"),
    "padding_side": (_is_side, "left or right"),
    "truncation_side": (_is_side, "left or right"),
}


def _wrong(field: str, value: Any, place: str, allowed: str) -> ModelError:
    text = repr(value)
    text = text if len(text) <= 60 else f"{text[:57]}..."
    return ModelError(f"{place}: {field} is {text}, allowed is {allowed}: {_REMEDY}")
