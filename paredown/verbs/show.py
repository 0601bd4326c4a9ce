"""The verb show: one artifact, recipe or entry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from compress import catalog
from compress.errors import UnknownName, UserError
from paredown.verbs import _options, _rendering
from paredown.verbs.list_ import SHELVES


def show(
    name: Annotated[str, typer.Argument(help="An artifact's folder, or a name that 'list' gives.")],
    as_json: _options.Json = False,
) -> None:
    """Show an artifact's passport, a recipe as YAML, or the options of a stage, criterion, probe or gate."""
    from compress.artifacts.artifact import Artifact, is_sealed

    if is_sealed(Path(name)):
        from deploy import content

        opened = Artifact.open(Path(name), verify=False)
        content.check(opened)
        _rendering.show_artifact(opened, as_json)
        return
    shelves = [shelf for shelf in SHELVES if catalog.canonical(name) in catalog.names(shelf)]  # type: ignore[arg-type]
    if not shelves:
        if Path(name).exists():
            raise UserError(
                f"{name} is not a sealed artifact (no manifest.json): 'paredown show' takes one, or a name"
            )
        every = {entry for shelf in SHELVES for entry in catalog.names(shelf)}  # type: ignore[arg-type]
        raise UnknownName("name", name, every)
    payload = [_describe(shelf, name) for shelf in shelves]

    def render() -> None:
        console = _rendering.console()
        for item in payload:
            if item.get("text"):  # as it is, so that it can be saved and run
                sys.stdout.write(item["text"])
                continue
            console.print(f"{item['what']} {item['name']}: {item['summary']}")
            if item.get("options"):
                table = Table("option", "default", "meaning", box=None, pad_edge=False)
                for row in item["options"]:
                    table.add_row(row["name"], row["default"], row["meaning"])
                console.print(table)

    _options.emit(payload, as_json, render)


def _describe(shelf: str, name: str) -> dict[str, Any]:
    wanted: Any = shelf
    described: dict[str, Any] = {
        "what": shelf,
        "name": catalog.canonical(name),
        "summary": catalog.summary(wanted, name),
    }
    if shelf == "recipe":
        described["text"] = catalog.path(wanted, name).read_text(encoding="utf-8")
    elif shelf in {"stage", "criterion", "probe", "gate"}:
        described["options"] = [
            {"name": option, "default": default, "meaning": meaning}
            for option, default, meaning in catalog.options(wanted, name)
        ]
    return described
