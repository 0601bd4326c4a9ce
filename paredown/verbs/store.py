"""The verb store: look at and tidy the store of built artifacts."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from paredown.verbs import _options, _rendering

app = typer.Typer(help="Look at and tidy the store of built artifacts.", no_args_is_help=True)


@app.command(name="list")
def list_(store: _options.StoreRoot = None, as_json: _options.Json = False) -> None:
    """List the artifacts of the store, the latest used first."""
    entries = _options.store(store).entries()
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
                _rendering.megabytes(int(str(item["bytes"]))),
                str(item["used"]),
            )
        _rendering.console().print(table)
        total = sum(int(str(item["bytes"])) for item in payload)
        _rendering.console().print(f"{len(payload)} artifacts, {_rendering.megabytes(total)}")

    _options.emit(payload, as_json, render)


@app.command(name="prune")
def prune(
    days: Annotated[
        int | None, typer.Option("--days", min=0, max=36_500, help="Remove what was not used for so long.")
    ] = None,
    damaged: Annotated[bool, typer.Option("--damaged", help="Remove what fails verification.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Remove everything.")] = False,
    store: _options.StoreRoot = None,
    as_json: _options.Json = False,
) -> None:
    """Remove leftovers of killed runs and, where asked, artifacts."""
    removed = _options.store(store).prune(
        unused_for=timedelta(days=days) if days is not None else None, damaged=damaged, everything=everything
    )
    _options.emit(
        [str(path) for path in removed],
        as_json,
        lambda: _rendering.console().print(f"{len(removed)} folders removed"),
    )
