"""The token limit that a folder keeps to, whose it is, and whether rows may be padded: ``encoding.json``.

The limit of an artifact is the model's own unless somebody chose a shorter one. ``load`` writes two: the
original's own, with which it is run in every comparison, and the one for whatever is made of it, where the
recipe chose one. The tokenizer's files beside it are brought in line, so that whoever loads them without
paredown gets the ids that paredown gives the model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from compress.errors import ModelError
from compress.model import tokenizer_files
from compress.reading import json_values

ENCODING = "encoding.json"
_PADDING = "padding"

Whose = Literal["model", "rows", "recipe", "export", "check"]
_WORDS: dict[str, str] = {
    "model": "the model's own limit",
    "rows": "the limit of the training rows, as data.max_length: data asked",
    "recipe": "the limit that data.max_length chose",
    "export": "the limit that the export's max_length chose",
    "check": "the longest text on which the exported graph was checked against its model",
}


@dataclass(frozen=True)
class Limit:
    """How many tokens of a row a model is given.

    Attributes:
        tokens: specials included; None where there is no limit, or rows have no length.
        whose: who set it; None where the folder does not say.
    """

    tokens: int | None
    whose: Whose | None = None

    def __str__(self) -> str:
        """Whose it is, in words."""
        return _WORDS[self.whose] if self.whose else "the artifact's limit"


def read(folder: Path) -> Limit:
    """The limit that a folder's model is run with; none where the folder says nothing.

    Raises:
        ModelError: ``encoding.json`` is damaged.
    """
    content = _content(folder)
    return Limit(None) if content is None else _limit(content, folder / ENCODING)


def read_derived(folder: Path) -> Limit:
    """The limit of what is made of a folder's model: the recipe's choice, else the folder's own.

    Raises:
        ModelError: ``encoding.json`` is damaged.
    """
    content = _content(folder)
    if content is None:
        return Limit(None)
    derived = content.get("derived")
    return _limit(content if derived is None else derived, folder / ENCODING)


def read_padding(folder: Path) -> bool:
    """Whether rows of several lengths may share a batch; False where padding was seen to move answers.

    Raises:
        ModelError: ``encoding.json`` is damaged.
    """
    padding = (_content(folder) or {}).get(_PADDING, True)
    if not isinstance(padding, bool):
        raise ModelError(f"{folder / ENCODING}: {_PADDING} is {padding!r:.80}, allowed is true or false")
    return padding


def write(folder: Path, limit: Limit, derived: Limit | None = None, *, padding: bool | None = None) -> None:
    """Write ``encoding.json``, and bring the tokenizer's files of the folder in line with it.

    Args:
        folder: of the artifact that is being made.
        limit: that its model is run with.
        derived: for what is made of it, where that is another one.
        padding: whether rows may be padded; what the folder says already when None.
    """
    content: dict[str, Any] = _written(limit)
    if not (read_padding(folder) if padding is None else padding):
        content[_PADDING] = False
    if derived is not None and derived.tokens != limit.tokens:
        content["derived"] = _written(derived)
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    (folder / ENCODING).write_text(text, encoding="utf-8")
    tokenizer_files.settle(folder, limit.tokens)


def _written(limit: Limit) -> dict[str, Any]:
    return {"max_length": limit.tokens} | ({"whose": limit.whose} if limit.whose else {})


def _content(folder: Path) -> dict[str, Any] | None:
    file = folder / ENCODING
    if not file.is_file():
        return None
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise _damaged(file)
    return content


def _limit(content: Any, file: Path) -> Limit:
    if not isinstance(content, dict) or "max_length" not in content:
        raise _damaged(file)
    tokens, owner = content["max_length"], content.get("whose")
    if tokens is not None and (
        not isinstance(tokens, int) or isinstance(tokens, bool) or not 1 <= tokens < 2**31
    ):
        raise ModelError(f"{file}: max_length is {tokens!r:.80}, allowed is a positive number or null")
    if owner is not None and str(owner) not in get_args(Whose):
        raise ModelError(f"{file}: whose is {owner!r:.80}, allowed is one of {', '.join(get_args(Whose))}")
    return Limit(tokens, owner)


def _damaged(file: Path) -> ModelError:
    return ModelError(f'{file} should read {{"max_length": NUMBER or null}}: build it again')
