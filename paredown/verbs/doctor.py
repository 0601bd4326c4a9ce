"""The verb doctor: what is installed and what fits together."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from compress.errors import ExitCode
from paredown.verbs import _options, _rendering


def doctor(store: _options.StoreRoot = None, as_json: _options.Json = False) -> None:
    """Say what is installed, what each missing piece would enable, and what does not work together."""
    import dataclasses

    from paredown.doctor import examination as examiner

    diagnosis = examiner.examine(_options.store(store).root)
    _options.emit(dataclasses.asdict(diagnosis), as_json, lambda: _show_examination(diagnosis))
    if diagnosis.problems:
        raise typer.Exit(ExitCode.INPUT)


def _show_examination(diagnosis: Any) -> None:
    console = _rendering.console()
    table = Table("piece", "version", "state", box=None, pad_edge=False)
    for piece in diagnosis.pieces:
        table.add_row(piece.name, piece.version or "-", piece.state)
    console.print(table)
    for title, items in (
        ("Missing", diagnosis.missing),
        ("Notes", diagnosis.notes),
        ("Problems", diagnosis.problems),
    ):
        for item in items:
            console.print(f"{title}: {item}", soft_wrap=True, markup=False)
    if not diagnosis.problems:
        console.print("No problem found.")
