"""Every number in every configuration is bounded and taken as it is written, whoever adds a field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, cast, get_args, get_origin

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, SchemaValidator

from compress import catalog
from compress.errors import RecipeError, UserError
from compress.recipe import BenchConfig, DataConfig, Recipe, validate
from compress.strict import Strict

_SHELVES = ("stage", "criterion", "probe", "gate")


def _models() -> dict[str, type[BaseModel]]:
    roots: tuple[type[BaseModel], ...] = (Recipe, DataConfig, BenchConfig)
    models = {model.__name__: model for model in roots}
    for shelf in _SHELVES:
        for name in catalog.names(shelf):
            models[f"{shelf} {name}"] = catalog.load(shelf, name).Config
    return models


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
            bound
            for part in parts[1:]
            for bound in (part.metadata if isinstance(part, FieldInfo) else [part])
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
        field: values
        for field, info in model.model_fields.items()
        for kind in _numbers(info.annotation, list(info.metadata))
        # A seed is any number that generators take.
        if (values := [value for value in _unbounded(kind) if not (field == "seed" and value == "10^18")])
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
    unbounded = {
        field: [
            value for kind in _numbers(info.annotation, list(info.metadata)) for value in _unbounded(kind)
        ]
        for field, info in _Forgetful.model_fields.items()
    }
    assert unbounded["fine"] == []
    assert all("10^18" in unbounded[field] for field in ("low_only", "either", "inner", "bare"))
    assert "NaN" in unbounded["bare"]


# What YAML may hold, and what pydantic would take each for.
_LEAVES = (True, False, 0, 1, 3, 0.5, 1.0, 3.0, "3", "0.5", "1e-3", "true", "yes", "off", b"3")
_VALUES = (
    *_LEAVES,
    *([leaf] for leaf in _LEAVES),
    *([leaf, leaf] for leaf in _LEAVES),
    *({"a": leaf} for leaf in _LEAVES),
)


def _fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, SchemaValidator]]:
    """Each field of a model, and of those within, with what validates it, as the model does."""
    schema: Any = model.__pydantic_core_schema__
    shared: list[Any] = []
    while schema["type"] != "model-fields":
        shared += schema.get("definitions", [])
        schema = schema["schema"]
    for name, field in schema["fields"].items():
        alone = {"type": "definitions", "schema": field["schema"], "definitions": shared}
        yield f"{above}{name}", SchemaValidator(cast(CoreSchema, alone if shared else field["schema"]))
    for name, info in model.model_fields.items():
        for part in (info.annotation, *get_args(info.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _fields(part, f"{above}{name}.")


def _as_written(value: Any, parsed: Any) -> bool:
    """Whether no value became one of another type; a whole number may become any number."""
    if isinstance(value, list):
        items = parsed if isinstance(parsed, list | tuple) else [parsed]
        return all(_as_written(element, item) for element, item in zip(value, items, strict=False))
    if isinstance(value, dict) and isinstance(parsed, dict):
        return all(_as_written(value[key], parsed[key]) for key in value)
    if isinstance(parsed, float):
        return type(value) in (int, float) and value == parsed
    return not isinstance(parsed, int) or (type(value) is type(parsed) and value == parsed)


def _mistaken(validator: SchemaValidator) -> list[str]:
    mistakes = []
    for value in _VALUES:
        try:
            parsed = validator.validate_python(value)
        except (ValidationError, UserError):  # an unknown name, say
            continue
        if not _as_written(value, parsed):
            mistakes.append(f"{value!r} as {parsed!r}")
    return mistakes


@pytest.mark.parametrize(("name", "model"), _models().items(), ids=_models())
def test_every_value_is_taken_as_it_is_written(name: str, model: type[BaseModel]) -> None:
    """``true`` is no 1, ``"3"`` is no 3, 3.0 is no whole number, and neither 1 nor ``yes`` is a switch."""
    mistakes = {field: wrong for field, validator in _fields(model) if (wrong := _mistaken(validator))}
    assert mistakes == {}, f"{name}: {mistakes}"


class _Lax(BaseModel):
    whole: int = 1
    number: float = 1.0
    switch: bool = False
    several: tuple[int, ...] = ()
    table: dict[str, float] = {}


class _Inner(Strict):
    whole: int = 1


class _Exact(Strict):
    default: int = 1
    type: bool | int | None = None
    several: tuple[float, ...] = ()
    inner: _Inner = _Inner()


def test_a_mistaken_value_is_seen() -> None:
    """The walk finds what pydantic itself takes; the common base does not, whatever a field's name."""
    mistakes = {field: _mistaken(validator) for field, validator in _fields(_Lax)}
    assert {"True as 1", "'3' as 3", "3.0 as 3"} <= set(mistakes["whole"])
    assert {"True as 1.0", "'1e-3' as 0.001"} <= set(mistakes["number"])
    assert {"1 as True", "'off' as False"} <= set(mistakes["switch"])
    assert "[True] as (1,)" in mistakes["several"]
    assert "{'a': True} as {'a': 1.0}" in mistakes["table"]
    exact = {field: _mistaken(validator) for field, validator in _fields(_Exact)}
    assert exact == {name: [] for name in ("default", "type", "several", "inner", "inner.whole")}
    assert _Exact.model_validate({"several": [1, 0.5], "type": True}).several == (1.0, 0.5)
    with pytest.raises(ValidationError):
        _Exact.model_validate({"inner": {"whole": True}})


def test_the_sentence_names_what_was_written() -> None:
    """Field, what is allowed, what was found."""
    with pytest.raises(RecipeError, match=r"rounds: Input should be a valid integer \(found True\)"):
        validate(BenchConfig, {"rounds": True}, "bench")
    with pytest.raises(RecipeError, match=r"texts: Input should be a valid boolean \(found 1\)"):
        validate(BenchConfig, {"texts": 1}, "bench")
