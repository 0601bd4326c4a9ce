"""YAML of a user's file as plain JSON types: text, numbers, true and false, null, lists, mappings.

It is built from the parser's events and not by the library's constructors, so that nothing else can come of
it: a date stays the text that it is, tags beyond those types are refused, keys are text as they are written,
and a key that stands twice is an error. ``1e-5`` is a number and ``1:30`` is none, as in YAML 1.2. Depth is
bounded, and so is what aliases amount to once written out: ten lines can mean a billion values.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from compress.errors import UserError
from compress.reading import files, utf8
from compress.reading.files import Refusal

DEPTH = 64
"""Levels of lists and mappings; a recipe has six."""
VALUES = 100_000
"""With every alias written out."""
DIGITS = 40
"""Of a whole number."""
LIMIT = 16 * 2**20
"""Bytes of a file."""

_TAG = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "null": (type(None),),
}
_WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (
        ("null", None),
        ("true", True),
        ("yes", True),
        ("on", True),
        ("false", False),
        ("no", False),
        ("off", False),
    )
    for form in (word, word.capitalize(), word.upper())
}
_WHOLE = re.compile(r"[-+]?[0-9](?:_?[0-9])*")
_BASED = re.compile(r"[-+]?0(?:x[0-9a-fA-F]+|o[0-7]+|b[01]+)")
_REAL = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_CONSTANT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class _RefusedError(ValueError):
    """What is valid YAML and not taken; the place is added by whoever called."""


@dataclass
class _Open:
    """A list or mapping that is being read.

    Attributes:
        value: what it holds so far.
        line: where it starts, from 1.
        anchor: its name, where it has one.
        key: of the value that comes next, in a mapping.
        size: values in it, aliases written out.
        merged: what ``<<`` brings; keys of its own come first.
    """

    value: Any
    line: int
    anchor: str | None
    key: str | None = None
    size: int = 1
    merged: dict[str, Any] = field(default_factory=dict)


class _Builder:
    """Values out of events; what aliases refer to is kept with its size."""

    def __init__(self) -> None:
        self.root: Any = None
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int] | None] = {}

    def take(self, event: yaml.Event) -> None:
        """One event; the root is whole after the last."""
        line = _line_of(event)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._start(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._end()

    def _refuse(self, reason: str, line: int) -> NoReturn:
        raise _RefusedError(line, reason)

    def _wants_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].value, dict) and self.open[-1].key is None

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        written = utf8.joined(event.value)
        if written is None:
            self._refuse("half of a surrogate pair, which is no character", line)
        if self._wants_key():
            self._key(written, line)
            value: Any = written
        else:
            value = self._resolve(event, written, line)
            self._put(value, 1, line)
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)

    def _key(self, written: str, line: int) -> None:
        inner = self.open[-1]
        if written in inner.value and written != "<<":
            self._refuse(f"the key '{files.shown(written)}' stands twice", line)
        inner.key = written

    def _resolve(self, event: yaml.ScalarEvent, written: str, line: int) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            return self._plain(written, line) if event.implicit[0] and tag is None else written
        kind = tag.removeprefix(_TAG)
        if kind == "str":
            return written
        if not tag.startswith(_TAG) or kind not in _TYPES:
            self._refuse(f"the tag '{files.shown(tag)}' is not taken: write plain text and numbers", line)
        value = self._plain(written, line)
        if type(value) not in _TYPES[kind]:
            self._refuse(f"'{files.shown(written)}' is no {kind}", line)
        return float(value) if kind == "float" else value

    def _plain(self, written: str, line: int) -> Any:
        """A value without quotes and without a tag."""
        if written in _WORDS:
            return _WORDS[written]
        if _WHOLE.fullmatch(written):
            if len(written) > DIGITS:
                self._refuse(f"a number of {len(written):,} digits, and {DIGITS} are the most", line)
            return int(written)
        if _BASED.fullmatch(written) and len(written) <= DIGITS:
            return int(written, 0)
        if _REAL.fullmatch(written):
            value = float(written.replace("_", ""))
            if not math.isfinite(value):
                self._refuse(f"the number {written[:DIGITS]} is larger than a float holds", line)
            return value
        if _CONSTANT.fullmatch(written):
            self._refuse(f"{written} is no number that anything can be set to", line)
        return written

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self.anchors:
            self._refuse(f"the alias '*{files.shown(anchor)}' refers to nothing before it", line)
        entry = self.anchors[anchor]
        if entry is None:
            self._refuse(f"the alias '*{files.shown(anchor)}' refers to what it stands in", line)
        value, size = entry
        if self._wants_key():
            if not isinstance(value, str):
                self._refuse("a key is text", line)
            self._key(value, line)
        else:
            self._put(value, size, line)

    def _start(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        if self._wants_key():
            self._refuse("a key is text, not a list or a mapping", line)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if mapping else "seq")):
            self._refuse(f"the tag '{files.shown(event.tag)}' is not taken: write lists and mappings", line)
        if len(self.open) >= DEPTH:
            self._refuse(f"lists and mappings are nested deeper than {DEPTH} levels", line)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.open.append(_Open({} if mapping else [], line, event.anchor))

    def _end(self) -> None:
        node = self.open.pop()
        if isinstance(node.value, dict):
            for key, value in node.merged.items():
                node.value.setdefault(key, value)
        if node.anchor:
            self.anchors[node.anchor] = (node.value, node.size)
        self._put(node.value, node.size, node.line)

    def _put(self, value: Any, size: int, line: int) -> None:
        """A whole value into what is open."""
        if not self.open:
            self.root = value
            return
        inner = self.open[-1]
        inner.size += size
        if inner.size > VALUES:
            self._refuse(f"more than {VALUES:,} values, with what aliases stand for", line)
        if isinstance(inner.value, list):
            inner.value.append(value)
            return
        key, inner.key = inner.key, None
        if key == "<<":
            self._merge(inner, value, line)
        elif key is not None:
            inner.value[key] = value

    def _merge(self, inner: _Open, value: Any, line: int) -> None:
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, dict):
                self._refuse("'<<' takes a mapping, or a list of them", line)
            for key, element in part.items():
                inner.merged.setdefault(key, element)


def parse(written: str, place: str, *, error: Refusal = UserError) -> Any:
    """The value of a YAML text of one document; None of an empty one.

    Args:
        written: the text.
        place: where it comes from, for messages.
        error: class of the refusal.

    Raises:
        UserError: it is no YAML, or such as the module's head says; the line is named.
    """
    builder = _Builder()
    documents = 0
    try:
        for event in yaml.parse(written, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _RefusedError(_line_of(event), "a second document starts, and one is taken")
            builder.take(event)
    except _RefusedError as cause:
        line, reason = cause.args
        raise error(f"{place} is not valid YAML (line {line}): {reason}") from cause
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError, IndexError) as cause:
        # The scanner raises bare errors of its own for escapes beyond Unicode and the like.
        raise error(f"{place} is not valid YAML{_line(cause)}: {_problem(cause)}") from cause
    return builder.root


def _line_of(event: yaml.Event) -> int:
    """Where an event stands, from 1."""
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _line(cause: Exception) -> str:
    mark = getattr(cause, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark else ""


def _problem(cause: Exception) -> str:
    if isinstance(cause, yaml.reader.ReaderError):
        return f"the character {ascii(chr(cause.character))[1:-1]} cannot stand in it"
    return files.shown(str(getattr(cause, "problem", None) or cause))


def read(path: Path, *, error: Refusal = UserError) -> Any:
    """The value of a YAML file.

    Raises:
        UserError: it cannot be read, or is no such YAML.
    """
    return parse(utf8.read(path, limit=LIMIT, error=error), files.shown(path), error=error)
