"""The verb show: one artifact, recipe or entry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
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
    shelves = [shelf for shelf in SHELVES if catalog.canonical(name) in catalog.names(shelf)]
    if not shelves:
        if Path(name).exists():
            raise UserError(
                f"{name} is not a sealed artifact (no manifest.json): 'paredown show' takes one, or a name"
            )
        every = {entry for shelf in SHELVES for entry in catalog.names(shelf)}
        raise UnknownName("name", name, every)
    payload = [_describe(shelf, name) for shelf in shelves]

    def render() -> None:
        console = _rendering.console()
        for item in payload:
            if item.get("text"):  # as it is, so that it can be saved and run
                sys.stdout.write(item["text"])
                continue
            console.print(f"{item['what']} {item['name']}: {item['summary']}")
            if "from" in item:
                console.print(f"from {item['from']}", highlight=False)
            for part in ("options", "figures", "metrics"):
                if item.get(part):
                    table = Table(*item[part][0], box=None, pad_edge=False)
                    for row in item[part]:
                        table.add_row(*map(escape, row.values()))
                    console.print(table)

    _options.emit(payload, as_json, render)


def _describe(shelf: catalog.Shelf, name: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "what": shelf,
        "name": catalog.canonical(name),
        "summary": catalog.summary(shelf, name),
    }
    source = catalog.entry(shelf, name).source
    if source is not None:
        described["from"] = source
    if shelf == "recipe":
        described["text"] = catalog.path(shelf, name).read_text(encoding="utf-8")
    elif shelf in {"stage", "criterion", "probe", "gate"}:
        described["options"] = [
            {"name": option, "default": default, "meaning": meaning}
            for option, default, meaning in catalog.options(shelf, name)
        ]
    if shelf == "probe":
        probe = catalog.probe(name)
        described["figures"] = [
            {
                "figure": figure.metric,
                "shown as": figure.title
                or ", ".join(dict.fromkeys(column.title for column in figure.columns)),
                "exact": figure.exactness(probe.UNIT),
            }
            for figure in probe.FIGURES
        ]
    if shelf == "task":
        described["metrics"] = [
            {"metric": metric.name, "unit": metric.unit, "better": metric.better}
            for metric in catalog.task(name).METRICS
        ]
    return described
