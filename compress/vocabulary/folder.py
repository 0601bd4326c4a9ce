"""A model folder's files that name pieces by id, all cut alike; one that cannot be is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compress import fence
from compress.errors import ModelError
from compress.model.tokenizer_files import CONFIG, TOKENIZER
from compress.reading import json_values
from compress.vocabulary import special_ids, tokenizer_json
from compress.vocabulary.pieces import Pieces

_ADDED, _GENERATION = "added_tokens.json", "generation_config.json"
# Vocabularies in forms of other libraries, which are not written here.
_FOREIGN = ("*.model", "*.tiktoken", "bpe.codes")


def read(folder: Path) -> dict[str, Any]:
    """The content of a folder's ``tokenizer.json``.

    Raises:
        ModelError: it is no JSON object.
    """
    content = json_values.read(folder / TOKENIZER, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{folder / TOKENIZER} holds no JSON object: get the model folder again")
    return content


def cut(folder: Path, old_ids: Sequence[int]) -> tuple[str, ...]:
    """Cut the tokenizer's files of a folder, in place, and give the names of those that were left out.

    Args:
        folder: of the artifact that is being made, with a ``tokenizer.json``; never a source.
        old_ids: old ids in their order.

    Raises:
        ModelError: a file is damaged, or its tokens cannot have the ids that they would get.
    """
    new_ids = {old: new for new, old in enumerate(old_ids)}
    content = tokenizer_json.cut(read(folder), old_ids, str(folder / TOKENIZER))
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    _check(text, content, str(folder / TOKENIZER))
    (folder / TOKENIZER).write_text(text, encoding="utf-8")
    _rewrite(folder / CONFIG, lambda config: _decoder(config, new_ids))
    _rewrite(
        folder / _ADDED, lambda tokens: {name: new_ids[old] for name, old in tokens.items() if old in new_ids}
    )
    left_out = [file for pattern in _FOREIGN for file in sorted(folder.glob(pattern))]
    for name, write in (("vocab.txt", _lines), ("vocab.json", _ids), ("merges.txt", _merges)):
        file = folder / name
        if file.is_file():
            written = write(content["model"])
            if written is None:
                left_out.append(file)
            else:
                file.write_text(written, encoding="utf-8")
    generation = folder / _GENERATION
    if generation.is_file():
        options = json_values.read(generation, error=ModelError)
        if isinstance(options, dict) and not special_ids.names_others(options):
            _rewrite(generation, lambda options: {**options, **special_ids.moved(options, new_ids)})
        else:
            left_out.append(generation)
    for file in left_out:
        file.unlink()
    return tuple(sorted(file.name for file in left_out))


def _check(text: str, content: Mapping[str, Any], place: str) -> None:
    """Refuse a file that is not read as it is written: a token takes an id by rules of the library's own.

    Raises:
        ModelError: the library refuses it, or gives a piece another id.
    """
    from tokenizers import Tokenizer

    with fence.reading(f"{place} cannot be cut", "leave trim-vocabulary out for this model"):
        ids = Tokenizer.from_str(text).get_vocab(with_added_tokens=True)
    expected = Pieces(content, place).ids
    odd = next((piece for piece, number in expected.items() if ids.get(piece) != number), None)
    if odd is not None:
        raise ModelError(
            f"{place} cannot be cut: the token '{odd}' would have the id {expected[odd]}, and the tokenizers "
            f"library gives it {ids.get(odd)}: leave trim-vocabulary out for this model"
        )


def _rewrite(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change a JSON object on disk, where there is one."""
    if not file.is_file():
        return
    content = json_values.read(file, error=ModelError)
    if not isinstance(content, dict):
        raise ModelError(f"{file} holds no JSON object: get the model folder again")
    fresh = change(content)
    if fresh != content:
        file.write_text(json.dumps(fresh, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _decoder(config: dict[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """A ``tokenizer_config.json`` whose added tokens have their new ids."""
    tokens = config.get("added_tokens_decoder")
    if not isinstance(tokens, dict):
        return config
    # One that the tokenizer does not have has no row either.
    moved = {str(new_ids[int(old)]): token for old, token in tokens.items() if int(old) in new_ids}
    return {**config, "added_tokens_decoder": moved}


def _lines(model: Mapping[str, Any]) -> str | None:
    """A ``vocab.txt``: a piece a line in the order of ids; None where they do not fit the lines."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list) or sorted(vocabulary.values()) != list(range(len(vocabulary))):
        return None
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    return None if any("\n" in piece for piece in pieces) else "".join(f"{piece}\n" for piece in pieces)


def _ids(model: Mapping[str, Any]) -> str | None:
    """A ``vocab.json``; None for a list of scores, which it cannot say."""
    vocabulary = model["vocab"]
    return None if isinstance(vocabulary, list) else json.dumps(vocabulary, ensure_ascii=False) + "\n"


def _merges(model: Mapping[str, Any]) -> str | None:
    """A ``merges.txt``; None where there are no merges, or a piece holds a blank."""
    if "merges" not in model:
        return None
    lines = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    if any(line.count(" ") != 1 for line in lines):
        return None
    return "#version: 0.2\n" + "".join(f"{line}\n" for line in lines)
