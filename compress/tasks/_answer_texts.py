"""Answers that are parts of a text: how cells write them, and how much two of them have in common.

Exact match and F1 are those of SQuAD's official scorer (Rajpurkar et al. 2016): in lower case, without ASCII
punctuation, without the articles a, an, the, and with single blanks; F1 counts the words in common. That
scorer splits at blanks, which Chinese and Japanese do not write. A text with such characters is read as
multilingual scorers do (MLQA, Lewis et al. 2020): every one of these characters is a word, and punctuation of
every script goes. It is not the longest common run that the script of CMRC 2018 counts, which gives lower F1
where words stand in another order.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from compress.errors import DataError
from compress.reading import json_values

Spans = tuple[tuple[str, int], ...]
"""Reference answers, each with its first character in the context; -1: it only scores, and stands nowhere."""

FORM = '{"text": ["…"], "answer_start": [0]}'
UNPLACED = -1

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = frozenset(string.punctuation)
# Scripts that write without blanks: kana and Han ideographs, with the extensions of both.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def words(text: str) -> list[str]:
    """The words of an answer that scores count."""
    unspaced = _UNSPACED.search(text) is not None
    plain = "".join(
        character
        for character in text.lower()
        if character not in _PUNCTUATION
        and not (unspaced and unicodedata.category(character).startswith("P"))
    )
    if unspaced:
        plain = _UNSPACED.sub(lambda match: f" {match.group()} ", plain)
    return _ARTICLES.sub(" ", plain).split()


def overlap(answer: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the words that two answers have in common; where one has none, whether both have none."""
    if not answer or not reference:
        return float(not answer and not reference)
    common = sum((Counter(answer) & Counter(reference)).values())
    return 2 * common / (len(answer) + len(reference))


def score(answer: str, references: Sequence[str]) -> tuple[float, float]:
    """F1 and exact match against the best of the references; no references: the right answer is none.

    References without a word (an article alone) are left out where others have one, as the scorer of SQuAD
    2.0 does.
    """
    answer_words = words(answer)
    reference_words = [split for reference in references if (split := words(reference))] or [[]]
    best = max(overlap(answer_words, split) for split in reference_words)
    return best, float(answer_words in reference_words)


def spans(cell: Any) -> Spans | None:
    """A cell's answers as ``Spans``; None where it is no such cell.

    Allowed are an object with ``text`` and ``answer_start`` (lists of like length, or one of each), a list of
    such objects, and either of them as JSON in a text. No answer: empty lists.
    """
    if isinstance(cell, str):
        if not cell.lstrip().startswith(("{", "[")):
            return None
        try:
            cell = json_values.parse(cell, "a cell", error=DataError)
        except DataError:
            return None
    if isinstance(cell, Mapping):
        if not {"text", "answer_start"} <= cell.keys():
            return None
        texts, starts = _listed(cell["text"]), _listed(cell["answer_start"])
    elif isinstance(cell, list | tuple):
        if all(isinstance(part, list | tuple) and len(part) == 2 for part in cell):
            texts, starts = [part[0] for part in cell], [part[1] for part in cell]
        elif all(isinstance(part, Mapping) for part in cell):
            texts, starts = ([part.get(key) for part in cell] for key in ("text", "answer_start"))
        else:
            return None
    else:
        return None
    if len(texts) != len(starts) or not all(isinstance(text, str) and text.strip() for text in texts):
        return None
    places = [_place(start) for start in starts]
    if None in places:
        return None
    return tuple((text, place) for text, place in zip(texts, places, strict=True) if place is not None)


def _listed(value: Any) -> list[Any]:
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _place(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < UNPLACED:
        return None
    return value


def misplaced(answers: Spans, context: str) -> str | None:
    """What is wrong with the places of some answers in their context, in words; None where nothing is."""
    for text, start in answers:
        if start == UNPLACED or context[start : start + len(text)] == text:
            continue
        passage = context[start : start + len(text)]
        place = context.find(text)
        remedy = (
            f"it stands at {place}: write that"
            if place >= 0
            else "it stands nowhere in the context: write -1"
        )
        return (
            f"the answer '{text[:60]}' should stand at character {start} of its context, and there stands "
            f"'{passage[:60]}'; {remedy}{'' if place < 0 else ', or -1'} for an answer that only scores"
        )
    return None
