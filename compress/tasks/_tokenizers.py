"""Tokenizers: loading them from a folder, and what the text tasks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress import fence
from compress.errors import ModelError, first_line
from compress.reading import json_values
from compress.tasks import _tokenizer_fields as fields

# transformers 5 makes an empty tokenizer, without a word, where none of these files is there.
_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "tokenizer.model",
)
_REMEDY = "get the whole model folder again"
_ORDER = ("input_ids", "attention_mask", "token_type_ids")
# Models that take the types of tokens although their configuration has no size of a table for them: XLM looks
# them up among the words, XLNet and Funnel compare them.
_TYPES_WITHOUT_TABLE = frozenset(
    {
        *("ctrl", "flaubert", "funnel", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo"),
        *("gptj", "openai-gpt", "xlm", "xlnet"),
    }
)


def load_tokenizer(folder: Path, *, words: bool = False) -> Any:
    """The tokenizer of a model folder, offering only the inputs that the model takes.

    Args:
        folder: with the tokenizer's files.
        words: whether it gets lists of words; byte-level ones must then put a blank before each.

    Raises:
        ModelError: there is none, it cannot be read, or it has no padding token.
    """
    from transformers import AutoConfig, AutoTokenizer

    fields.check(folder)
    if not any((folder / name).is_file() for name in _FILES) and not _is_without_files(folder):
        raise ModelError(
            f"{folder} has no tokenizer (none of {', '.join(_FILES)}): save the tokenizer that the "
            "model was trained with into the same folder"
        )
    with fence.reading(f"the tokenizer in {folder} cannot be read", _REMEDY):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if words and getattr(tokenizer, "add_prefix_space", None) is False:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, add_prefix_space=True
            )
    if tokenizer.pad_token_id is None:
        raise ModelError(
            f"the tokenizer in {folder} has no padding token, so rows of different lengths cannot "
            "share a batch: set pad_token in its tokenizer_config.json"
        )
    _check_names(tokenizer, folder)
    if "token_type_ids" in tokenizer.model_input_names and (folder / "config.json").is_file():
        with fence.reading(f"{folder}/config.json is refused by transformers", _REMEDY):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not getattr(config, "type_vocab_size", config.model_type in _TYPES_WITHOUT_TABLE):
            tokenizer.model_input_names = [
                name for name in tokenizer.model_input_names if name != "token_type_ids"
            ]
    _try(tokenizer, folder, words=words)
    return tokenizer


def _is_without_files(folder: Path) -> bool:
    """Whether the tokenizer's class is the whole of it: it reads characters or bytes (CANINE, ByT5)."""
    import transformers

    file = folder / "tokenizer_config.json"
    name = json_values.read(file, error=ModelError).get("tokenizer_class") if file.is_file() else None
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    if not isinstance(kind, type) or not issubclass(kind, transformers.PreTrainedTokenizerBase):
        return False
    return not getattr(kind, "vocab_files_names", None)


def _check_names(tokenizer: Any, folder: Path) -> None:
    """Refuse ``model_input_names`` that the tokenizer does not give.

    Raises:
        ModelError: an element is no text, or no array of the tokenizer bears the name.
    """
    names = tokenizer.model_input_names
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        with fence.reading(f"the tokenizer in {folder} cannot encode a text", _REMEDY):
            keys = tokenizer("a").keys()
        if set(names) <= set(keys):
            return
    raise ModelError(
        f"{folder}/tokenizer_config.json: model_input_names is {str(names)[:120]}, allowed are the names of "
        "what the tokenizer gives, such as input_ids and attention_mask"
    )


def _try(tokenizer: Any, folder: Path, *, words: bool) -> None:
    """Turn two texts into arrays, so that files that do not hold together are refused where they are read.

    Raises:
        ModelError: the tokenizer raises, or gives something else than ids.
    """
    texts: list[Any] = ["a", "b c d"]
    with fence.reading(f"the tokenizer in {folder} does not work", _REMEDY):
        given = tokenizer(
            [text.split() for text in texts] if words else texts,
            is_split_into_words=words,
            truncation=True,
            max_length=32,
            padding=True,
            verbose=False,
        )
        ids = arrays(given, tokenizer)
    if any(array.ndim != 2 or (array < 0).any() for array in ids.values()):
        raise ModelError(f"the tokenizer in {folder} gives no ids from 0: {_REMEDY}")


def encoded(tokenizer: Any, *texts: Any, **options: Any) -> Any:
    """What a tokenizer gives for rows.

    Raises:
        ModelError: it gives up on one of them. A pattern in its file, by which it splits texts, may take
            longer on some row than its library lets it.
    """
    try:
        return tokenizer(*texts, **options)
    except BaseException as cause:
        if not fence.is_panic(cause):
            raise
        raise ModelError(
            f"the tokenizer gives up on a row ({first_line(cause)}): a pattern by which its tokenizer.json "
            "splits texts takes too long on it; take another tokenizer, or leave the row out"
        ) from cause


def input_names(tokenizer: Any) -> tuple[str, ...]:
    """The tokenizer's inputs in the order of the usual ``forward``."""
    names = list(tokenizer.model_input_names)
    return tuple([n for n in _ORDER if n in names] + [n for n in names if n not in _ORDER])


def arrays(encoded: Any, tokenizer: Any) -> dict[str, np.ndarray]:
    """The model's inputs out of what a tokenizer gave, int64 [rows, length]."""
    return {name: np.asarray(encoded[name], dtype=np.int64) for name in input_names(tokenizer)}


def truncated(encoded: Any, full: Callable[[], np.ndarray]) -> np.ndarray:
    """Which rows were cut, bool [rows].

    Args:
        encoded: what the tokenizer gave, with truncation.
        full: a callable that gives the lengths before truncation, for tokenizers in Python, which do
            not say what they cut.
    """
    if encoded.encodings is not None:
        return np.asarray([bool(row.overflowing) for row in encoded.encodings], dtype=bool)
    cut_lengths = np.asarray(encoded["attention_mask"]).sum(axis=1)
    return np.asarray(full() > cut_lengths, dtype=bool)


def token_counts(encoded: Any) -> np.ndarray:
    """Tokens of each row, specials included, int64 [rows]."""
    ids: Sequence[Sequence[int]] = encoded["input_ids"]
    return np.fromiter((len(row) for row in ids), dtype=np.int64, count=len(ids))


def default_processor(config: Any) -> Any:
    """A tokenizer cannot be made up: it goes with trained embeddings.

    Raises:
        ModelError: always.
    """
    raise ModelError(
        f"a text model built from an architecture ({config.model_type}) has no tokenizer: give 'model' a "
        "folder with config.json and the tokenizer files instead"
    )
