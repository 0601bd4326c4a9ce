"""The verb list: the entries of every shelf."""

from __future__ import annotations

import os
import textwrap
from typing import Annotated

import typer

from compress import catalog
from compress.errors import EntryError, UnknownName
from paredown.verbs import _options, _rendering

SHELVES: tuple[catalog.Shelf, ...] = (
    "recipe",
    "task",
    "stage",
    "criterion",
    "runtime",
    "probe",
    "gate",
    "finding",
    "tracker",
)


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="One of recipe, task, stage, ...: only that kind, in full.")
    ] = None,
    as_json: _options.Json = False,
) -> None:
    """List the entries of every kind: recipes, tasks, stages, probes, gates, ...; of one KIND in full."""
    if kind is not None and catalog.canonical(kind) not in SHELVES:
        raise UnknownName("kind", kind, SHELVES)
    shelves: dict[str, dict[str, str]] = {
        shelf: {name: _summary(shelf, name, entry) for name, entry in sorted(catalog.entries(shelf).items())}
        for shelf in SHELVES
        if kind is None or shelf == catalog.canonical(kind)
    }
    _options.emit(shelves, as_json, lambda: _list(shelves, full=kind is not None))


def _summary(shelf: catalog.Shelf, name: str, entry: catalog.Entry) -> str:
    """An entry's first line with what brings it where it is not ours; of a broken one what is wrong."""
    try:
        text = catalog.summary(shelf, name)
    except EntryError as error:
        text = str(error)
    return text if entry.source is None else f"{text} (from {entry.source})"


def _list(shelves: dict[str, dict[str, str]], *, full: bool) -> None:
    """The entries by kind, each in a line that a terminal's width cuts, or in ``full``.

    What goes into a pipe or a file is not cut: there is no width, and a search should find every word.
    """
    console = _rendering.console()
    cut = not full and (console.is_terminal or "COLUMNS" in os.environ)
    for shelf, entries in shelves.items():
        console.print(f"{shelf} ({len(entries)})", style="bold", highlight=False)
        column = max(map(len, entries))
        for name, text in entries.items():
            plain = text.replace("``", "")
            if full:
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
    if not full:
        console.print("'paredown list KIND' gives one kind with its whole lines,", highlight=False)
    console.print("'paredown show NAME' what an entry is and takes.", highlight=False)
