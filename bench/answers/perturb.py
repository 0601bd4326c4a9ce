"""Small changes of a text, seeded: typos, casing, punctuation, length (the label stays), and negation.

After CheckList (Ribeiro et al. 2020): the first four are invariance tests. Negation is none, since what a
negated text means is not known; it is measured by whether both models react in the same way. The words that
negation looks for are English; a text that a change does not apply to is left out of that change.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]{4,}")
_END = re.compile(r"\s*[.!?…]+\s*$")
# As written apart by tokenized corpora ("do n't") or together ("don't").
_NEGATED = re.compile(
    r"\b(?P<verb>is|are|was|were|do|does|did|has|have|had|could|would|should|must|need)"
    r"(?:\s?n['\u2019]t|\s+not)\b",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(is|are|was|were|has|have|had|can|could|will|would|should|must|may|might)\b", re.IGNORECASE
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def typos(text: str, source: random.Random) -> str:
    """One in ten words, at least one, gets two neighboring inner letters swapped, or one dropped or doubled.

    Words of fewer than four letters, and first and last letters, stay as they are.
    """
    words = list(_WORD.finditer(text))
    picked = source.sample(words, max(1, round(len(words) / 10))) if words else []
    for match in sorted(picked, key=lambda occurrence: -occurrence.start()):
        word = match.group()
        place = source.randrange(1, len(word) - 2)
        pair = word[place : place + 2]
        new = source.choice((pair[::-1], pair[1:], pair[0] + pair))
        text = text[: match.start()] + word[:place] + new + word[place + 2 :] + text[match.end() :]
    return text


def casing(text: str, source: random.Random) -> str:
    """All capitals, all small, or a capital for each word; whichever differs, by chance."""
    forms = [form for form in (text.upper(), text.lower(), text.title()) if form != text]
    return source.choice(forms) if forms else text


def punctuation(text: str, source: random.Random) -> str:
    """The closing mark goes where there is one, and comes where there is none; commas go."""
    bare = _END.sub("", text)
    marked = bare if bare != text else text.rstrip() + "."
    return re.sub(r"\s*,", "", marked)


def length(text: str, source: random.Random) -> str:
    """A web address and a handle behind the text, made of random letters, as CheckList adds them."""
    parts = ["".join(source.choices(_LETTERS, k=count)) for count in (10, 6)]
    return f"{text} https://t.co/{parts[0]} @{parts[1]}"


def negation(text: str, source: random.Random) -> str:
    """The first negated verb loses its "not"; else the first auxiliary verb gets one."""
    match = _NEGATED.search(text)
    if match:
        return text[: match.start()] + match["verb"] + text[match.end() :]
    return _VERB.sub(lambda verb: f"{verb[0]} not", text, count=1)


@dataclass(frozen=True)
class Kind:
    """One kind of change.

    Attributes:
        name: of it.
        what: it does, in words.
        change: of a text.
        keeps_label: whether the label stays.
        in_words: whether it makes sense word by word, where a row is a list of words with tags.
    """

    name: str
    what: str
    change: Callable[[str, random.Random], str]
    keeps_label: bool = True
    in_words: bool = False


KINDS = (
    Kind("typos", "one word in ten is misspelled", typos, in_words=True),
    Kind("casing", "all capitals, all small, or each word with a capital", casing, in_words=True),
    Kind("punctuation", "the closing mark is dropped or added, commas are dropped", punctuation),
    Kind("length", "a random web address and a handle follow the text", length),
    Kind("negation", "the first verb is negated, or its negation taken away", negation, keeps_label=False),
)
