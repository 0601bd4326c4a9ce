"""The verbs that look at what there is: list, show, verify, and the store."""

from __future__ import annotations

import os
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from compress import catalog, options, rendering
from compress.errors import UnknownName, UserError

store_app = typer.Typer(help="Look at and tidy the store of built artifacts.", no_args_is_help=True)

SHELVES = ("recipe", "task", "stage", "criterion", "runtime", "probe", "gate", "tracker")


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="One of recipe, task, stage, ...: only that kind, in full.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List recipes, tasks, stages, criteria, runtimes, probes, gates and trackers; of one KIND in full."""
    if kind is not None and catalog.canonical(kind) not in SHELVES:
        raise UnknownName("kind", kind, SHELVES)
    found = {
        shelf: {name: catalog.summary(shelf, name) for name in catalog.names(shelf)}  # type: ignore[arg-type]
        for shelf in SHELVES
        if kind is None or shelf == catalog.canonical(kind)
    }
    options.emit(found, as_json, lambda: _list(found, whole=kind is not None))


def _list(found: dict[str, dict[str, str]], *, whole: bool) -> None:
    """The entries by kind, each in a line that a terminal's width cuts, or ``whole``.

    What goes into a pipe or a file is not cut: there is no width, and a search should find every word.
    """
    console = rendering.console()
    cut = not whole and (console.is_terminal or "COLUMNS" in os.environ)
    for shelf, entries in found.items():
        console.print(f"{shelf} ({len(entries)})", style="bold", highlight=False)
        column = max(map(len, entries))
        for name, text in entries.items():
            plain = text.replace("``", "")
            if whole:
                margin = " " * (column + 4)
                lines = textwrap.wrap(
                    plain, console.width, initial_indent=f"  {name:<{column}}  ", subsequent_indent=margin
                )
                plain = "\n".join(lines)
            else:
                plain = f"  {name:<{column}}  {plain}"
            console.print(
                plain, highlight=False, soft_wrap=not cut, no_wrap=cut, overflow="ellipsis" if cut else None
            )
    if not whole:
        console.print("'paredown list KIND' gives one kind with its whole lines,", highlight=False)
    console.print("'paredown show NAME' what an entry is and takes.", highlight=False)


def show(
    name: Annotated[str, typer.Argument(help="An artifact's folder, or a name that 'list' gives.")],
    as_json: options.Json = False,
) -> None:
    """Show an artifact's passport, a recipe as YAML, or the options of a stage, criterion, probe or gate."""
    from compress.artifact import Artifact, is_sealed

    if is_sealed(Path(name)):
        from deploy.checking import content

        opened = Artifact.open(Path(name), verify=False)
        content.check(opened)
        rendering.show_artifact(opened, as_json)
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
        console = rendering.console()
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

    options.emit(payload, as_json, render)


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


def verify(
    artifact: Annotated[Path, typer.Argument(help="The folder of a sealed artifact or of a bundle.")],
    as_json: options.Json = False,
) -> None:
    """Check every byte of an artifact, or of a bundle, against its checksums, and what it holds."""
    from compress.artifact import Artifact
    from deploy.checking import content
    from deploy.handover import sums

    found = sums.verify(artifact) if sums.is_bundle(artifact) else Artifact.open(artifact)
    content.check(found)
    payload = {
        "path": str(artifact),
        "id": found.id,
        "seal": found.seal,
        "files": len(found.manifest.files),
        "verified": True,
    }
    options.emit(
        payload,
        as_json,
        lambda: rendering.console().print(
            f"{artifact}: {payload['files']} files unchanged, id {found.id}, seal {found.seal}",
            soft_wrap=True,
        ),
    )


@store_app.command(name="list")
def store_list(store: options.StoreRoot = None, as_json: options.Json = False) -> None:
    """List the artifacts of the store, the latest used first."""
    entries = options.store(store).entries()
    payload = [
        {
            "key": entry.key,
            "stage": entry.artifact.manifest.stage,
            "task": entry.artifact.task,
            "bytes": entry.artifact.size_bytes,
            "used": entry.used.isoformat(timespec="seconds"),
            "path": str(entry.artifact.path),
        }
        for entry in entries
    ]

    def render() -> None:
        table = Table("key", "stage", "task", "size", "last used", box=None, pad_edge=False)
        for item in payload:
            table.add_row(
                str(item["key"])[:16],
                str(item["stage"]),
                str(item["task"]),
                rendering.megabytes(int(str(item["bytes"]))),
                str(item["used"]),
            )
        rendering.console().print(table)
        total = sum(int(str(item["bytes"])) for item in payload)
        rendering.console().print(f"{len(payload)} artifacts, {rendering.megabytes(total)}")

    options.emit(payload, as_json, render)


@store_app.command(name="prune")
def store_prune(
    days: Annotated[
        int | None, typer.Option("--days", min=0, max=36_500, help="Remove what was not used for so long.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove what fails verification.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    store: options.StoreRoot = None,
    as_json: options.Json = False,
) -> None:
    """Remove leftovers of killed runs and, where asked, artifacts."""
    removed = options.store(store).prune(
        unused_for=timedelta(days=days) if days is not None else None, damaged=damaged, everything=everything
    )
    options.emit(
        [str(path) for path in removed],
        as_json,
        lambda: rendering.console().print(f"{len(removed)} folders removed"),
    )


def register(app: typer.Typer) -> None:
    """Add the verbs to the root."""
    app.command(name="list")(list_)
    app.command()(show)
    app.command()(verify)
    app.add_typer(store_app, name="store")
