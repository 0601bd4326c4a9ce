"""The base of everything that a user writes: options, recipes, budgets.

pydantic takes ``true`` for 1, ``"3"`` for 3, 2.0 for a whole number and 1 for ``true``: a slip of the pen
then runs as something that nobody wrote. Its own strict mode refuses that, and with it lists where a tuple is
kept and texts where a path is, which is how YAML and the command line give them. So only the three types
that are mistaken for each other are made strict, wherever in an annotation they stand. A whole number stays
a number where any number is asked for.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

_EXACT = frozenset({"int", "float", "bool"})
_VALUES = frozenset({"default", "expected", "metadata", "ref", "schema_ref", "serialization"})
"""Keys of a schema under which no other schema lies."""


def _exact(schema: Any) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_exact(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if not isinstance(kind, str):  # the fields of a model by name, which may be any
        return {name: _exact(inner) for name, inner in schema.items()}
    exact = {key: value if key in _VALUES else _exact(value) for key, value in schema.items()}
    return {**exact, "strict": True} if kind in _EXACT else exact


class Strict(BaseModel):
    """Unknown keys are refused, values never change, and a switch is no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema that pydantic makes, with its numbers and switches taken as they are."""
        return cast(CoreSchema, _exact(handler(source)))
