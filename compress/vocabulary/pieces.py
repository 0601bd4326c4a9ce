"""What a ``tokenizer.json`` holds, and the pieces of it that stay whatever the text is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from compress.errors import ModelError
from compress.vocabulary.merges import Merges, Pair

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_REMEDY = "get the model folder again"
ALGORITHMS = ("WordPiece", "BPE", "Unigram", "WordLevel")


class Pieces:
    """The pieces of a ``tokenizer.json`` by id, and how text is read with them."""

    def __init__(self, content: Mapping[str, Any], place: str) -> None:
        """Read the parsed file.

        Args:
            content: of the file.
            place: what an error calls it.

        Raises:
            ModelError: it has no vocabulary of a known algorithm, or is damaged.
        """
        model = content.get("model")
        if not isinstance(model, dict):
            raise ModelError(f"{place} has no model: {_REMEDY}")
        self.place = place
        self.model: dict[str, Any] = model
        self.algorithm = _algorithm(model, place)
        self.vocabulary = _vocabulary(model, place)
        self.added = _added(content, place)
        self.marks = dict(marks(content.get("post_processor")))
        self.ids = {**self.vocabulary, **self.added}
        self.size = max(self.ids.values()) + 1
        self.merges = Merges(pairs(model, place), _text(model, "continuing_subword_prefix"))

    def always(self) -> set[int]:
        """Ids that stay in any case: added tokens, marks, bytes, characters, the unknown piece."""
        ids = {*self.added.values(), *self.marks.values()}
        ids |= {number for piece, number in self.vocabulary.items() if self._is_character(piece)}
        unknown = self.unknown()
        if unknown is not None:
            ids.add(unknown)
        if self.algorithm == "Unigram" and self.vocabulary:
            # An unknown character costs a fixed amount more than the least likely piece, and readers know
            # the unknown piece and those before it by their places.
            scores = [score for _, score in self.model["vocab"]]
            ids.add(scores.index(min(scores)))
            ids |= set(range(unknown or 0))
        return ids

    def unknown(self) -> int | None:
        """The id that stands for what no piece covers; None where there is none."""
        if self.algorithm == "Unigram":
            number = self.model.get("unk_id")
            return number if isinstance(number, int) and 0 <= number < self.size else None
        return self.ids.get(_text(self.model, "unk_token"))

    def needs(self) -> Callable[[int], Iterator[int]]:
        """A function: id -> the ids that the piece cannot be built without."""
        by_id = {number: piece for piece, number in self.vocabulary.items()}

        def parts(number: int) -> Iterator[int]:
            if number in by_id:
                for part in self.merges.parts(by_id[number]):
                    if part in self.vocabulary:
                        yield self.vocabulary[part]

        return parts

    def _is_character(self, piece: str) -> bool:
        bare = piece
        if self.algorithm in ("WordPiece", "BPE"):
            prefix, suffix = (
                _text(self.model, "continuing_subword_prefix"),
                _text(self.model, "end_of_word_suffix"),
            )
            bare = bare.removeprefix(prefix) or piece
            bare = bare.removesuffix(suffix) or bare
        return len(bare) == 1 or _BYTE.fullmatch(piece) is not None


def pairs(model: Mapping[str, Any], place: str) -> list[Pair]:
    """The merges of a model, in their order; none where it has none.

    Raises:
        ModelError: one is no pair of pieces.
    """
    return [_pair(merge, place) for merge in model.get("merges") or ()]


def _pair(merge: Any, place: str) -> Pair:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not (isinstance(parts, list) and len(parts) == 2 and all(isinstance(part, str) for part in parts)):
        raise ModelError(f"{place}: the merge {merge!r:.80} is no pair of pieces: {_REMEDY}")
    return parts[0], parts[1]


def marks(processor: Any) -> Iterator[tuple[str, int]]:
    """The tokens that a post-processor puts around texts, with their ids."""
    if not isinstance(processor, dict):
        return
    for part in processor.get("processors") or ():
        yield from marks(part)
    for side in ("sep", "cls"):
        mark = processor.get(side)
        if isinstance(mark, list) and len(mark) == 2 and isinstance(mark[1], int):
            yield str(mark[0]), mark[1]
    templates = processor.get("special_tokens")
    for name, template in templates.items() if isinstance(templates, dict) else ():
        tokens, ids = template.get("tokens") or [name], template.get("ids") or ()
        yield from zip(tokens, ids, strict=False)


def _algorithm(model: Mapping[str, Any], place: str) -> str:
    """The algorithm, which old files do not name."""
    name = model.get("type")
    if name is None:
        if isinstance(model.get("vocab"), list):
            name = "Unigram"
        elif "merges" in model:
            name = "BPE"
        else:
            name = "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"
    if name not in ALGORITHMS:
        raise ModelError(
            f"{place} is of the algorithm {name!r:.40}: vocabularies of {', '.join(ALGORITHMS)} are cut"
        )
    return str(name)


def _vocabulary(model: Mapping[str, Any], place: str) -> dict[str, int]:
    content = model.get("vocab")
    if isinstance(content, list) and all(
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], int | float)
        for entry in content
    ):
        content = {piece: number for number, (piece, _) in enumerate(content)}
    if not isinstance(content, dict) or not all(isinstance(n, int) and n >= 0 for n in content.values()):
        raise ModelError(f"{place}: the vocabulary is no list of pieces with ids or scores: {_REMEDY}")
    if not content:
        raise ModelError(f"{place} has no vocabulary: {_REMEDY}")
    return content


def _added(content: Mapping[str, Any], place: str) -> dict[str, int]:
    tokens = content.get("added_tokens") or []
    if not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) and isinstance(token.get("id"), int)
        for token in tokens
    ):
        raise ModelError(f"{place}: added_tokens is no list of tokens with ids: {_REMEDY}")
    return {token["content"]: token["id"] for token in tokens}


def _text(model: Mapping[str, Any], field: str) -> str:
    value = model.get(field)
    return value if isinstance(value, str) else ""
