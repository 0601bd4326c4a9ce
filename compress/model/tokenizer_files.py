"""A tokenizer's files that do what the product does: no padding of their own, cut at the artifact's limit.

``tokenizer.json`` may hold a truncation and a padding (a fixed 128, say) that transformers ignores and every
other reader applies: each text is then padded to 128 tokens, which costs several times the time, and cut
there. The product pads a batch to its longest row and cuts at its own limit, so the file says just that.

What the format cannot say: which inputs the model takes, and that a byte-level tokenizer puts a blank before
the first of several words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from compress.errors import ModelError

TOKENIZER = "tokenizer.json"
CONFIG = "tokenizer_config.json"

# Keys of a tokenizer_config.json that repeat a truncation or padding of tokenizer.json.
_REPEATED = ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of", "pad_to_max_length")


def settle(folder: Path, tokens: int | None) -> None:
    """Bring the tokenizer's files of a folder in line with a limit, in place; nothing where there are none.

    Args:
        folder: of the artifact that is being made; never a source.
        tokens: that a row is cut to, specials included; None: rows are not cut.

    Raises:
        ModelError: a file is no JSON object.
    """
    config = _read(folder / CONFIG)
    if config is not None:
        remaining = {key: value for key, value in config.items() if key not in _REPEATED}
        if tokens is not None:
            remaining["model_max_length"] = tokens
        _write(folder / CONFIG, config, remaining)
    tokenizer = _read(folder / TOKENIZER)
    if tokenizer is not None:
        left = config is not None and config.get("truncation_side") == "left"
        _write(folder / TOKENIZER, tokenizer, tokenizer | sections(tokens, left=left))


def settled(folder: Path, tokens: int | None) -> bool:
    """Whether a folder's tokenizer does what the product does; true where there is no ``tokenizer.json``."""
    tokenizer, config = _read(folder / TOKENIZER), _read(folder / CONFIG)
    if tokenizer is None:
        return True
    expected = sections(tokens, left=config is not None and config.get("truncation_side") == "left")
    return all(tokenizer.get(name) == content for name, content in expected.items())


def sections(tokens: int | None, *, left: bool = False) -> dict[str, Any]:
    """Truncation and padding of a ``tokenizer.json`` as the product does them.

    Args:
        tokens: that a row is cut to; None: it is not cut.
        left: whether a row loses its beginning instead of its end.
    """
    truncation = {
        "direction": "Left" if left else "Right",
        "max_length": tokens,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    return {"truncation": None if tokens is None else truncation, "padding": None}


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as cause:
        raise ModelError(f"{file} is no JSON: get the model folder again") from cause
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the model folder again")
    return content


def _write(file: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    if after != before:
        file.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
