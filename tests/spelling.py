"""Whether a command that a page spells out is one: parsed by the real command line, and not run."""

from __future__ import annotations

import argparse
import importlib.util
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Sequence
from typing import Any, Final

import pages
import pytest
import typer

from bench import tracking
from compress import catalog, recipe
from deploy.tensorrt import profiles
from paredown.app import app
from paredown.verbs import _candidates

COMMAND: Final = typer.main.get_command(app)


class OptionsReadError(Exception):
    """A program's options were read, and nothing more of it shall run."""


def check(line: str) -> int:
    """Check every command of a line; gives their number.

    Raises:
        AssertionError: a program that this test does not know, or a file or module that is not there.
        Exception: what the command line itself says of words that do not fit.
    """
    commands: list[list[str]] = [[]]
    for word in shlex.split(line, comments=True):
        if word in {"&&", ";", "|"}:
            commands.append([])
        else:
            commands[-1].append(word)
    spelled = [words for words in commands if words]
    for words in spelled:
        program(words)
    return len(spelled)


def program(words: Sequence[str]) -> None:
    """Check one program's words by what it is."""
    match words:
        case ["paredown", *rest] | ["python", "-m", "compress", *rest]:
            verb(rest)
        case ["accelerate", "launch", *rest]:
            verb(rest[rest.index("-m") + 2 :])
            assert rest[rest.index("-m") + 1] == "compress"
        case ["python", "-m", module, *rest]:
            run_as_module(module, rest)
        case ["pip", "install", *rest]:
            installed(rest)
        case ["pytest"]:
            pass
        case _:
            pytest.fail(f"no check knows the program of: {shlex.join(words)}")


def verb(words: Sequence[str]) -> dict[str, Any]:
    """Parse the words of ``paredown`` as it does itself, to the values of its options; gives them."""
    command: Any = COMMAND
    remaining, path = list(words), "paredown"
    while hasattr(command, "commands"):
        assert remaining, f"'{path}' needs a command"
        step = remaining.pop(0)
        assert step in command.commands, f"'{path}' has no command '{step}'"
        command, path = command.commands[step], f"{path} {step}"
    values: dict[str, Any] = command.make_context(path, remaining).params
    for text in values.get("runtime") or () if isinstance(values.get("runtime"), list | tuple) else ():
        catalog.path("runtime", _candidates.parse_runtime(text)[1])
    for text in values.get("profile") or ():
        profiles.parse(text)
    for text in values.get("track") or ():
        catalog.path("tracker", tracking.parse(text)[0])
    for text in (values.get("probes") or "").split(",") if values.get("probes") else ():
        catalog.path("probe", text)
    for text in values.get("set_") or ():
        assignment(text)
    return values


def assignment(text: str) -> None:
    """A ``KEY=VALUE``: the key is an option of a stage, or leads into a recipe."""
    key, equals, value = text.partition("=")
    assert equals, f"--set {text} is not KEY=VALUE"
    recipe.parse_value(value, text)
    options = set(recipe.Recipe.model_fields)
    for stage in catalog.names("stage"):
        options |= {option for option, *_ in catalog.options("stage", stage)}
    assert key.split(".")[0] in options, f"--set {text}: no stage and no recipe has that option"


def run_as_module(module: str, words: Sequence[str]) -> None:
    """A module of the checkout: it is there, and its own parser takes the words."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    if not words:
        return

    def parse(parser: argparse.ArgumentParser, arguments: Any = None, namespace: Any = None) -> Any:
        unknown = parser.parse_known_args(arguments, namespace)[1]
        assert not unknown, f"python -m {module} has no {' '.join(unknown)}"
        raise OptionsReadError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        patch.setattr(sys, "argv", [module, *words])
        with pytest.raises(OptionsReadError):
            runpy.run_module(module, run_name="__main__")


def installed(words: Sequence[str]) -> None:
    """What pip shall install: constraints and extras that are there, packages that this project names."""
    settings = tomllib.loads((pages.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    script = (pages.ROOT / ".ci" / "run").read_text(encoding="utf-8")
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word == "-c":
            assert (pages.ROOT / remaining.pop(0)).is_file()
        elif extras := re.fullmatch(r"\.\[([a-z,]+)\]", word):
            assert set(extras[1].split(",")) <= settings["project"]["optional-dependencies"].keys(), word
        elif word != "--no-deps":
            assert f"{word}==" in script, f"pip install {word}: .ci/run does not install it"
