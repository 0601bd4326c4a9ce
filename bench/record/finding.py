"""What stands behind a figure, for a person to read: the record holds it, and the shelf of findings knows it.

A finding is told by its ``kind``, the name of an entry of ``bench.findings``, which has its model. One of an
entry that is not installed here is kept as it was written, so that a report can be read and passed on
anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from compress import catalog
from compress.strict import Strict

VERSION: Literal[1] = 1
COUNTED = 10**15
"""More than anybody counts."""


class Part(Strict):
    """A part of a finding.

    Integers are counts, shares lie between 0 and 1, and differences (floats) are candidate minus original.
    Whoever makes one is held to that as whoever reads one is: what was written can be read.
    """

    def problems(self) -> Iterator[str]:
        """What is wrong with it that types cannot say."""
        yield from ()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name, value in self:
            for number in _integers(value):
                if not self._least() <= number <= COUNTED:
                    raise PydanticCustomError(
                        "count", "{name} is {number}, which is no count", {"name": name, "number": number}
                    )
        for problem in self.problems():
            raise PydanticCustomError("problem", "{problem}", {"problem": problem})
        return self

    @classmethod
    def _least(cls) -> int:
        """What an integer of it may be."""
        return 0


def _integers(value: object) -> Iterator[int]:
    """Those of a value that are in no part of their own."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for element in value.values() if isinstance(value, Mapping) else value:
            yield from _integers(element)


class Finding(Part):
    """What is in every finding: the entry that knows it, and the version of its model."""

    kind: str
    schema_version: Literal[1] = VERSION


class Unread(Finding):
    """A finding of an entry that is not installed here, which says its version as all do."""

    model_config = ConfigDict(extra="allow", frozen=True)

    schema_version: Literal[1] = Field()

    @classmethod
    def _least(cls) -> int:
        """In a finding that nobody here knows an integer need be no count."""
        return -COUNTED


def _read(value: Any) -> Any:
    """A finding by its kind from what a report holds; a model as it is."""
    if not isinstance(value, Mapping):
        return value
    kind = str(value.get("kind"))
    installed = catalog.canonical(kind) in catalog.names("finding")
    model = catalog.finding(kind).MODEL if installed else Unread
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PydanticCustomError(
            "finding", "{why} at '{place}'", {"why": first["msg"], "place": place}
        ) from None


Kept = Annotated[SerializeAsAny[Finding], BeforeValidator(_read)]
"""A finding as a report holds it."""
