"""A command line that does not fit (unknown option, missing argument, wrong type), as one sentence.

Typer reports such mistakes with exceptions of the Click that it carries inside, and prints several lines of
its own. What is private to it is met here alone: the exceptions' classes by way of ``typer.BadParameter``,
which is one of them, and three of their texts, which name what they are about in no other way.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

import typer

from compress.errors import UnknownName, UserError

UsageError: Any = typer.BadParameter.__base__
"""What Typer raises where a command line does not fit."""

_COMMAND = re.compile(r"No such command '(.*?)'")
_SURPLUS = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)")
_SHOWN = 120
_CHOICE = re.compile(r"'(.*?)' is not one of (.*?)\.?$")


def asks_for_help(error: Any) -> bool:
    """Whether a group was called without a command: its message is its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def mistake(error: Any) -> UserError:
    """A usage error in the house's words: what was asked, what is allowed, what to do next.

    Args:
        error: a ``UsageError``.
    """
    command = error.ctx.command_path if error.ctx else "paredown"
    see = f"see '{command} --help'"
    text = " ".join(error.format_message().split())
    if hasattr(error, "possibilities"):
        return _unknown_option(error)
    if hasattr(error, "param_type"):
        return UserError(f"'{command}' needs {_described(error.param)}: {see}")
    if hasattr(error, "param"):
        return UserError(_wrong_value(error, see))
    if match := _COMMAND.match(text):
        return UnknownName("command", match[1], error.ctx.command.commands)
    if match := _SURPLUS.match(text):
        return UserError(
            f"'{command}' takes no argument '{match[1]}' (a text with blanks wants quotes): {see}"
        )
    return UserError(f"{text[:1].lower()}{text[1:].rstrip('.')}: {see}")


def _unknown_option(error: Any) -> UserError:
    """One that the command does not have; one of the root stands before the command."""
    name = error.option_name
    parent = error.ctx.parent
    while parent is not None:
        if name in _options(parent.command):
            verb = error.ctx.command_path.removeprefix(parent.command_path).strip()
            return UserError(
                f"the option '{name}' stands before the command: {parent.command_path} {name} {verb} ..."
            )
        parent = parent.parent
    return UnknownName("option", name, (*_options(error.ctx.command), "--help"))


def _options(command: Any) -> list[str]:
    """The long names of a command's options."""
    return [
        name
        for param in command.params
        for name in (*param.opts, *param.secondary_opts)
        if name.startswith("--")
    ]


def _name(param: Any) -> str:
    """An option as it is written, an argument by its name."""
    return next((name for name in param.opts if name.startswith("--")), str(param.name))


def _described(param: Any) -> str:
    """A parameter with what its help says of it."""
    meaning = (getattr(param, "help", None) or "").rstrip(".")
    return f"the {param.param_type_name} '{_name(param)}'" + (f" ({meaning})" if meaning else "")


def _wrong_value(error: Any, see: str) -> str:
    """Which parameter has which value, and what is allowed."""
    name = _name(error.param) if error.param is not None else "a value"
    if match := _CHOICE.search(error.message):
        near = difflib.get_close_matches(match[1], re.findall(r"'(.*?)'", match[2]), n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"{name} is '{match[1]}'; allowed: {match[2]}.{hint}"
    reason = error.message.removeprefix("Value error, ").replace("Input should be", "it must be").rstrip(".")
    # The value itself is only in what the error was made from.
    parts: list[Any] = getattr(error.__cause__, "errors", list)()
    value = str(parts[0]["input"]) if parts else ""
    quoted = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} characters)"
    clause = f" is '{quoted}'" if parts else ""
    return f"{name}{clause}: {reason.split(', unable')[0]}; {see}"
