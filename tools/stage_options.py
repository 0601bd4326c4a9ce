"""Writes ``paredown/verbs/options.json``: every option of every stage, read from its ``Config``.

``--help`` of a verb lists what ``--set`` takes, with defaults. Reading that from the stages themselves would
import PyTorch to print a page of text, so that it lies in a file, which ``python -m tools.stage_options``
writes and a test compares.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from compress import catalog

FILE = Path("paredown", "verbs", "options.json")
_NONE = type(None)


def words(annotation: Any) -> str:
    """The type of an option as a person writes it: ``int``, ``auto | new``, ``int | list[int]``."""
    origin = get_origin(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(words(part) for part in get_args(annotation) if part is not _NONE))
    if origin is tuple or origin is list:
        return f"list[{words(get_args(annotation)[0])}]"
    if origin is Annotated:
        return words(get_args(annotation)[0])
    return "mapping" if origin is dict else str(getattr(annotation, "__name__", annotation))


def shown(default: str) -> str:
    """A default as ``--set`` would take it; nothing where the field's own meaning says what absent means."""
    if "(" in default and default.endswith(")") and default != "()":
        return "its own options"
    return {"None": "", "()": "", "{}": "", "True": "true", "False": "false"}.get(default, default.strip("'"))


def sentence(meaning: str) -> str:
    """What an option means, with a capital unless it begins with a value."""
    plain = meaning.replace("``", "")
    return plain if meaning.startswith("``") else plain[:1].upper() + plain[1:]


def listing() -> dict[str, list[dict[str, str]]]:
    """Stage -> its options: name, type, default and meaning."""
    stages = {}
    for stage in catalog.names("stage"):
        fields = catalog.load("stage", stage).Config.model_fields
        stages[stage] = [
            {
                "name": name,
                "type": words(fields[name].annotation),
                "default": shown(default),
                "meaning": sentence(meaning),
            }
            for name, default, meaning in catalog.options("stage", stage)
        ]
    return stages


def text() -> str:
    """The file's content."""
    return json.dumps(listing(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
