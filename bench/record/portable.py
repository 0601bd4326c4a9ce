"""Paths in a report, relative to the folder that the command ran in: the report is passed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def portable(value: Any, folder: Path) -> Any:
    """A JSON value whose texts are relative where they name a place below a folder.

    Args:
        value: texts, numbers, lists and mappings of them.
        folder: absolute.
    """
    if isinstance(value, dict):
        return {key: portable(entry, folder) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [portable(entry, folder) for entry in value]
    if isinstance(value, str) and value.startswith("/") and Path(value).is_relative_to(folder):
        return Path(value).relative_to(folder).as_posix()
    return value
