"""``shapes.json``: the shapes of a model that its configuration cannot express, written down and restored.

It lists every parameter whose shape differs from a build of the plain configuration, and the integer
attributes (widths, head counts) that differ in the modules above those parameters::

    {"schema_version": 1,
     "parameters": {"bert.encoder.layer.0.intermediate.dense.weight": [40, 32], ...},
     "attributes": {"bert.encoder.layer.0.intermediate.dense": {"out_features": 40}, ...}}

Attributes are compared and not listed by class, so that Linear, Conv1D, Embedding and an attention's own
head count are all covered by one rule.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from compress.errors import ModelError

if TYPE_CHECKING:
    import torch

SHAPES = "shapes.json"
SCHEMA: Literal[1] = 1
_MOST_ELEMENTS = 2**33

Size = Annotated[int, Field(ge=1, lt=2**31)]


class Shapes(BaseModel):
    """What ``shapes.json`` says.

    Attributes:
        parameters: name -> shape.
        attributes: module -> its integers, or tuples of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    schema_version: Literal[1]
    parameters: dict[str, list[Size]]
    attributes: dict[str, dict[str, Size | Annotated[list[Size], Field(min_length=1)]]]

    @field_validator("parameters")
    @classmethod
    def _bounded(cls, parameters: dict[str, list[int]]) -> dict[str, list[int]]:
        for name, shape in parameters.items():
            if math.prod(shape) > _MOST_ELEMENTS:
                raise ValueError(f"{name} has more than {_MOST_ELEMENTS} numbers")
        return parameters


def integers(module: torch.nn.Module) -> dict[str, Any]:
    """A module's public attributes that are integers, or tuples of them."""

    def counts(value: object) -> bool:
        if isinstance(value, tuple):
            return bool(value) and all(counts(item) for item in value)
        return isinstance(value, int) and not isinstance(value, bool)

    # layer_idx says where a layer stood before others were removed; it is no shape.
    return {
        name: value
        for name, value in vars(module).items()
        if counts(value) and not name.startswith("_") and name != "layer_idx"
    }


def deviations(model: torch.nn.Module, plain: torch.nn.Module) -> dict[str, Any] | None:
    """What ``shapes.json`` holds for a model, given a plain build; None where no shape differs.

    Raises:
        ValueError: the two do not have the same parameters, whatever their shapes.
    """
    ours, theirs = model.state_dict(), plain.state_dict()
    if ours.keys() != theirs.keys():
        odd = ", ".join(sorted(ours.keys() ^ theirs.keys())[:4])
        raise ValueError(f"the model's parameters are not those of its configuration: {odd}")
    shapes = {name: list(ours[name].shape) for name in ours if ours[name].shape != theirs[name].shape}
    if not shapes:
        return None
    above = {name[:cut] for name in shapes for cut, char in enumerate(name) if char == "."}
    modules = dict(model.named_modules(remove_duplicate=False))
    attributes = {}
    for name, module in plain.named_modules(remove_duplicate=False):
        if name not in above:
            continue
        before, now = integers(module), integers(modules[name])
        changed = {key: now[key] for key in before if key in now and now[key] != before[key]}
        if changed:
            attributes[name] = changed
    return {"schema_version": SCHEMA, "parameters": shapes, "attributes": attributes}


def read(file: Path) -> Shapes:
    """What a ``shapes.json`` says.

    Raises:
        ModelError: it is damaged or of another version; the message names the first field.
    """
    try:
        return Shapes.model_validate_json(file.read_bytes())
    except ValidationError as cause:
        first = cause.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        problem = (
            "is of another version of paredown" if field == "schema_version" else "does not fit the model"
        )
        raise ModelError(f"{file} {problem} ({field}: {first['msg']}): build it again") from cause


def restore(model: torch.nn.Module, file: Path) -> None:
    """Give a plain build the shapes and attributes that ``shapes.json`` lists; values come later.

    Only parameters, buffers and integers that are there already can be set.

    Raises:
        ModelError: the file is damaged, of another version, or names what the model does not have.
    """
    content = read(file)
    try:
        impose(model, content)
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise ModelError(f"{file} does not fit the model ({cause}): build it again") from cause


def impose(model: torch.nn.Module, content: Shapes) -> None:
    """Give a plain build other shapes and attributes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the model does not have what is listed.
    """
    for name, shape in content.parameters.items():
        _reshape(model, name, shape)
    for name, changes in content.attributes.items():
        module = model.get_submodule(name)
        current = integers(module)
        for key, value in changes.items():
            if isinstance(current[key], tuple) != isinstance(value, list):
                raise TypeError(f"{name}.{key} cannot be {value}")
            setattr(module, key, tuple(value) if isinstance(value, list) else value)


def _reshape(model: torch.nn.Module, name: str, shape: list[int]) -> None:
    import torch

    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    old = module.state_dict(keep_vars=True)[leaf]
    if old.dim() != len(shape):
        raise ValueError(f"{name} cannot have the shape {shape}")
    new = torch.empty(shape, dtype=old.dtype)
    is_parameter = isinstance(old, torch.nn.Parameter)
    setattr(module, leaf, torch.nn.Parameter(new, requires_grad=old.requires_grad) if is_parameter else new)
