"""``a`` or ``an`` before a name that a sentence is given: an AlbertModel, a GPT2Model, an MPNetModel."""

from __future__ import annotations

from typing import Final

# A name that begins with two capitals is read letter by letter: an em, an ex, a gee.
_LETTERS: Final = frozenset("AEFHILMNORSX")
# A vowel that is spoken as "you".
_YOU: Final = ("eu", "uni", "use")


def with_article(name: str) -> str:
    """A name behind the article that it is spoken with."""
    if name[:2].isalpha() and name[:2].isupper():
        return f"an {name}" if name[0] in _LETTERS else f"a {name}"
    vowel = name[:1].lower() in tuple("aeiou") and not name.lower().startswith(_YOU)
    return f"an {name}" if vowel else f"a {name}"


def a_type(thing: object) -> str:
    """The name of a thing's class, with its article."""
    return with_article(type(thing).__name__)
