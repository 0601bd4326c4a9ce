"""Writes ``tests/surface.json``: every verb, option, recipe key, entry and report field, with its default.

A test holds it: what a user may have written into a script or a recipe does not vanish, nor mean something
else, unnoticed. ``python -m tools.surface`` writes the file anew and says what is gone or has changed.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import BaseModel

from bench.record.model import Report
from compress import catalog
from compress.recipe import Recipe
from paredown.app import app
from paredown.verbs.list_ import SHELVES
from tools import docs_reference

FILE: Final = Path("tests", "surface.json")
REQUIRED: Final = "required"
Listing = dict[str, dict[str, Any]]


def verbs(group: Any, words: tuple[str, ...] = ("paredown",)) -> Iterator[tuple[str, Any]]:
    """A group and every command below it, hidden ones too, with the words that call each."""
    yield " ".join(words), group
    for name, command in getattr(group, "commands", {}).items():
        yield from verbs(command, (*words, name))


def options(command: Any) -> dict[str, Any]:
    """The arguments and options of a command by each of their names, with their defaults."""
    defaults = {}
    for parameter in command.params:
        argument = parameter.param_type_name == "argument"
        default = (
            parameter.default
            if isinstance(parameter.default, bool | int | float | None)
            else str(parameter.default)
        )
        for name in [parameter.name.upper()] if argument else [*parameter.opts, *parameter.secondary_opts]:
            defaults[name] = REQUIRED if parameter.required else default
    return defaults


def fields(model: type[BaseModel]) -> dict[str, Any]:
    """Every field of a model and, by ``Part.field``, of the models in it, with its default."""
    schema = model.model_json_schema(mode="serialization")  # there, a limit is the text that it is written as
    parts = {"": schema} | {f"{name}.": part for name, part in schema.get("$defs", {}).items()}
    return {
        f"{part}{name}": field.get("default", REQUIRED)
        for part, content in sorted(parts.items())
        for name, field in content.get("properties", {}).items()
    }


def entry(shelf: Any, name: str) -> dict[str, Any]:
    """The options of a catalog entry, or the fields of a finding; none where its shelf has neither."""
    if shelf == "finding":
        return fields(catalog.finding(name).MODEL)
    if shelf in docs_reference.CONFIGURED:
        return fields(catalog.load(shelf, name).Config)
    if shelf != "runtime":
        return {}
    parameters = inspect.signature(catalog.load(shelf, name).Runner.configure).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def listing() -> Listing:
    """What is held: names with defaults of each verb and catalog entry, of recipes and of reports."""
    commands = {f"verb {words}": options(command) for words, command in verbs(typer.main.get_command(app))}
    entries = {f"{shelf} {name}": entry(shelf, name) for shelf in SHELVES for name in catalog.names(shelf)}
    return {**commands, "recipe": fields(Recipe), "report": fields(Report), **entries}


def losses(recorded: Listing, now: Listing) -> list[str]:
    """What is gone, and which defaults are others, in words."""
    differences = []
    for part, names in recorded.items():
        if part not in now:
            differences.append(f"{part} is gone")
            continue
        for name, default in names.items():
            if name not in now[part]:
                differences.append(f"{part}: {name} is gone")
            elif now[part][name] != default:
                differences.append(
                    f"{part}: the default of {name} was {default!r} and is {now[part][name]!r}"
                )
    return differences


def text(listing: Listing) -> str:
    """The file's content."""
    return json.dumps(listing, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file, and say what is no longer in it."""
    now = json.loads(text(listing()))
    if FILE.exists():
        sys.stderr.writelines(f"{line}\n" for line in losses(json.loads(FILE.read_text("utf-8")), now))
    FILE.write_text(text(now), encoding="utf-8")


if __name__ == "__main__":
    main()
