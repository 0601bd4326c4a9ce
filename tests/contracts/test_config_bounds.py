"""Every number in every configuration has a smallest and a largest value, whoever adds a field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from compress import catalog
from compress.recipe import BenchConfig, DataConfig, Recipe

_SHELVES = ("stage", "criterion", "probe", "gate")


def _models() -> dict[str, type[BaseModel]]:
    whole: tuple[type[BaseModel], ...] = (Recipe, DataConfig, BenchConfig)
    found = {model.__name__: model for model in whole}
    for shelf in _SHELVES:
        for name in catalog.names(shelf):
            found[f"{shelf} {name}"] = catalog.load(shelf, name).Config
    return found


def _numbers(annotation: Any, metadata: list[Any]) -> Iterator[Any]:
    """Each number in an annotation with what bounds it, as a type of its own, models within as well."""
    if annotation in (int, float):
        yield Annotated[(annotation, *metadata)] if metadata else annotation
        return
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for field in annotation.model_fields.values():
            yield from _numbers(field.annotation, list(field.metadata))
        return
    parts = get_args(annotation)
    if get_origin(annotation) is Annotated:
        inner = [
            each for part in parts[1:] for each in (part.metadata if isinstance(part, FieldInfo) else [part])
        ]
        yield from _numbers(parts[0], inner)
        return
    for part in parts:
        # A bound of a union holds for each number in it; one of a list is a bound of its length.
        yield from _numbers(part, metadata if get_origin(annotation) not in (tuple, list, dict) else [])


def _takes(kind: Any, value: float) -> bool:
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def _unbounded(kind: Any) -> list[str]:
    values: dict[str, float] = {"10^18": 10**18, "10^400": 10**400, "-10^18": -(10**18)}
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if base is float:
        values |= {
            "10^18": 1e18,
            "-10^18": -1e18,
            "NaN": math.nan,
            "infinity": math.inf,
            "-infinity": -math.inf,
        }
    return [name for name, value in values.items() if _takes(kind, value)]


@pytest.mark.parametrize(("name", "model"), _models().items(), ids=_models())
def test_every_number_is_bounded_on_both_sides(name: str, model: type[BaseModel]) -> None:
    """10^18 rounds or layers are refused by the configuration and reach no loop."""
    open_ = {
        field: found
        for field, info in model.model_fields.items()
        for kind in _numbers(info.annotation, list(info.metadata))
        # A seed is any number that generators take.
        if (found := [each for each in _unbounded(kind) if not (field == "seed" and each == "10^18")])
    }
    assert open_ == {}, f"{name} takes these values: {open_}"


class _Forgetful(BaseModel):
    fine: int = Field(default=1, ge=1, le=10)
    low_only: int = Field(default=1, ge=1)
    either: float | None = Field(default=None, gt=0)
    inner: tuple[Annotated[int, Field(ge=0)], ...] = ()
    bare: dict[str, float] = {}


def test_a_field_without_a_bound_is_seen() -> None:
    """The walk finds what somebody forgot: in unions, in lists and in mappings."""
    seen = {
        field: [each for kind in _numbers(info.annotation, list(info.metadata)) for each in _unbounded(kind)]
        for field, info in _Forgetful.model_fields.items()
    }
    assert seen["fine"] == []
    assert all("10^18" in seen[field] for field in ("low_only", "either", "inner", "bare"))
    assert "NaN" in seen["bare"]
