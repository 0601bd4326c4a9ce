"""How results look to a person: an artifact, a duration, a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from paredown.verbs import _options

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact


def seconds(value: float | None) -> str:
    """A duration for a person."""
    if value is None:
        return "unknown"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def megabytes(value: int | None) -> str:
    """A size for a person, in decimal megabytes."""
    return "unknown" if value is None else f"{value / 1e6:.1f} MB"


def console() -> Console:
    """Where results are printed: paths and texts as they are, brackets in them included."""
    return Console(markup=False)


def show_artifact(artifact: Artifact, as_json: bool) -> None:
    """Give an artifact: where it is, what it is, what the stage recorded."""
    manifest = artifact.manifest
    payload = {
        "path": str(artifact.path),
        "id": artifact.id,
        "seal": artifact.seal,
        **manifest.model_dump(mode="json"),
    }

    def render() -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(overflow="fold")
        table.add_row("path", str(artifact.path))
        table.add_row("id", artifact.id)
        table.add_row("seal", artifact.seal)
        table.add_row("kind", manifest.kind)
        table.add_row("task", manifest.task)
        table.add_row("size", megabytes(artifact.size_bytes))
        table.add_row("made by", " > ".join(step.stage for step in manifest.lineage))
        tables = {name: value for name, value in manifest.facts.items() if _is_table(value)}
        for name, value in sorted(manifest.facts.items()):
            if name not in tables:
                text = "\n".join(value) if _is_list(value) else str(value)
                table.add_row(name, text if len(text) <= 400 else text[:397] + "...")
        console().print(table)
        for rows in tables.values():
            below = Table(*rows[0], box=None, pad_edge=False)
            for row in rows:
                below.add_row(*(str(cell) for cell in row.values()))
            console().print()
            console().print(below)

    _options.emit(payload, as_json, render)


def _is_table(fact: Any) -> bool:
    """Whether a fact is rows of equal columns, such as the layers of an engine."""
    return (
        isinstance(fact, list)
        and bool(fact)
        and all(isinstance(row, dict) and row.keys() == fact[0].keys() for row in fact)
        and all(not isinstance(cell, dict | list) for row in fact for cell in row.values())
    )


def _is_list(fact: Any) -> bool:
    return isinstance(fact, list) and all(isinstance(item, str) for item in fact)
