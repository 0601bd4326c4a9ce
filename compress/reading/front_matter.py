"""The YAML head of a card (a ``README.md`` of a model or data set): what the hub reads of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from compress.errors import UserError
from compress.reading import files, yaml_values

_HEAD = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_LIMIT = 16 * 2**20


def read(path: Path) -> dict[str, Any]:
    """The fields of a card's head; none of a card that has no head or cannot be read.

    A broken card states nothing; the weights or rows beside it are not affected.
    """
    try:
        if not files.is_file(path):
            return {}
        written = files.read_bytes(path, limit=_LIMIT).decode("utf-8-sig", errors="replace")
        head = _HEAD.match(written)
        fields = yaml_values.parse(head.group(1), str(path)) if head else {}
    except UserError:
        return {}
    return fields if isinstance(fields, dict) else {}


def license_of(path: Path) -> str | None:
    """The license that a card states, or None."""
    stated = read(path).get("license")
    if isinstance(stated, list):
        return ", ".join(str(name) for name in stated) or None
    return str(stated) if isinstance(stated, str | int | float) and stated else None
