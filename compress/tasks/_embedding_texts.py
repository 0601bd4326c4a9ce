"""Tokenizer and texts of a model that describes its vectors: prompts, limit and case are as it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.errors import ModelError
from compress.reading import json_values
from compress.tasks import Row
from compress.tasks import _embedding as embedding
from compress.tasks import _tokenizers as tokenizers

ROLE = "role"
"""The key of a row whose text stands for another role than the one that it lies under."""


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer, which knows the prompts, the limit and the case that the folder describes."""
    place = embedding.encoder_folder(folder)
    tokenizer = tokenizers.load_tokenizer(place)
    content = embedding.configuration(folder)
    file = folder / embedding.CONFIG
    if content is None and file.is_file():
        content = json_values.read(file, error=ModelError)
    tokenizer.description = embedding.described(content or {})
    longest = tokenizer.description.max_length
    if longest is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
    return tokenizer


def texts(rows: Sequence[Row], role: str, processor: Any) -> list[str]:
    """Texts of a role as the model reads them: with their prompt, in the case that it wants."""
    description = getattr(processor, "description", embedding.PLAIN)
    prompts: Mapping[Any, str] = description.prompts
    written = [prompts.get(row.get(ROLE, role), "") + row[role] for row in rows]
    return [text.lower() for text in written] if description.lowercase else written
