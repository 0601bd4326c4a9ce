"""What an entry of the catalog must hold: the members of its Protocol, checked once, when it is loaded.

A Protocol says what is wanted. Its annotated attributes and its functions must be there; an attribute with a
value and a function marked ``optional`` need not, and what stands in the Protocol then serves in their
place. A type checker sees nothing of a module that is imported by its name: names, plain types and the
names of parameters are therefore compared here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from compress.articles import with_article

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONAL = "__optional__"
_SHOWN = 80  # characters of a value


def optional(function: _Function) -> _Function:
    """Mark a function of a Protocol that an entry may leave out; its body is what is done then."""
    setattr(function, _OPTIONAL, True)
    return function


def breaches(entry: object, protocol: type) -> list[str]:
    """What of a Protocol an entry does not keep, each as a clause that names the member.

    Args:
        entry: a module, or what stands for one.
        protocol: whose annotated attributes and static functions are wanted.
    """
    members = vars(entry)
    clauses: list[str] = []
    for name, hint in get_type_hints(protocol).items():
        annotation = inspect.formatannotation(hint)
        if name in members:
            clauses += _breaches_of_value(name, members[name], hint, annotation)
        elif name not in vars(protocol):
            clauses.append(f"'{name}' is missing ({annotation} is wanted)")
    for name, function in _functions(protocol):
        if name in members:
            clauses += _breaches_of_function(name, members[name], function)
        elif not _is_optional(function):
            clauses.append(f"'{_written(name, function)}' is missing")
    return clauses


def complete(entry: object, protocol: type, **overrides: object) -> None:
    """Give an entry what it left out and its Protocol has a value for.

    Args:
        entry: a module, or what stands for one.
        protocol: that it keeps.
        overrides: members that whoever loads the entry decides, where the Protocol has them.
    """
    members = vars(entry)
    for name in get_type_hints(protocol):
        if name in overrides:
            members[name] = overrides[name]
        elif name in vars(protocol):
            members.setdefault(name, vars(protocol)[name])
    for name, function in _functions(protocol):
        members.setdefault(name, function)


def _functions(protocol: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name, member in vars(protocol).items():
        if isinstance(member, staticmethod):
            yield name, member.__func__


def _is_optional(function: Callable[..., Any]) -> bool:
    return _OPTIONAL in vars(function)


def _breaches_of_value(name: str, value: object, hint: Any, annotation: str) -> Iterator[str]:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        yield f"'{name}' is {_shown(value)}, and {annotation} is wanted ({reason[:1].lower()}{reason[1:]})"
        return
    if get_origin(hint) is type and isinstance(value, type):
        yield from _breaches_of_class(name, value, get_args(hint)[0])


def _breaches_of_class(name: str, cls: type, base: type) -> Iterator[str]:
    """What a class leaves out of its base's abstract members, or takes under other names."""
    for member in sorted(getattr(base, "__abstractmethods__", ())):
        implementation, declaration = (
            inspect.getattr_static(cls, member),
            inspect.getattr_static(base, member),
        )
        if member in getattr(cls, "__abstractmethods__", ()):
            yield f"'{name}.{member}' is missing"
        elif inspect.isfunction(implementation) and inspect.isfunction(declaration):
            yield from _breaches_of_function(f"{name}.{member}", implementation, declaration)


def _breaches_of_function(name: str, entry: object, pattern: Callable[..., Any]) -> Iterator[str]:
    if not callable(entry):
        yield f"'{name}' is {_shown(entry)}, and '{_written(name, pattern)}' is wanted"
        return
    try:
        signature = inspect.signature(entry)
    except (TypeError, ValueError):  # a function in C, or an object, that does not say
        return
    if not _takes(signature, inspect.signature(pattern)):
        yield f"'{_written(name, entry)}' takes other parameters, and '{_written(name, pattern)}' is wanted"


def _takes(signature: inspect.Signature, declaration: inspect.Signature) -> bool:
    """Whether a call by the wanted parameters, by place or by name, fits the own ones."""
    parameters = signature.parameters
    several = {parameter.kind for parameter in parameters.values()}
    everything = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= several
    needed = [name for name in declaration.parameters if name in parameters]
    if not everything and needed != list(declaration.parameters):
        return False
    if [name for name in parameters if name in declaration.parameters] != needed:
        return False
    for name, parameter in parameters.items():
        if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        counterpart = declaration.parameters.get(name)
        may_be_left = counterpart is None or counterpart.default is not inspect.Parameter.empty
        if may_be_left and parameter.default is inspect.Parameter.empty:
            return False
        by_place = counterpart is not None and counterpart.kind is not inspect.Parameter.KEYWORD_ONLY
        if by_place and parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            return False
        if counterpart is not None and parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            return False
    return True


def _shown(value: object) -> str:
    """A value in a few characters; its type where it fails to say itself."""
    try:
        text = value.__qualname__ if isinstance(value, type) else repr(value)
    except Exception:  # an entry's own code, which may raise whatever it likes
        return with_article(type(value).__qualname__)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _written(name: str, function: Callable[..., Any]) -> str:
    """A function as a call with the names of its parameters."""
    try:
        signature = inspect.signature(function)
    except ValueError:
        return name
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    try:
        return f"{name}{signature.replace(parameters=bare, return_annotation=signature.empty)}"
    except Exception:  # the repr of a default of an entry's own
        return f"{name}({', '.join(signature.parameters)})"
