"""How results look to a person: an artifact, a duration, a size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from compress import options

if TYPE_CHECKING:
    from compress.artifact import Artifact


def seconds(value: float | None) -> str:
    """A duration for a person."""
    if value is None:
        return "unknown"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def megabytes(value: int | None) -> str:
    """A size for a person, in decimal megabytes."""
    return "unknown" if value is None else f"{value / 1e6:.1f} MB"


def show_artifact(artifact: Artifact, as_json: bool) -> None:
    """Give an artifact: where it is, what it is, what the stage recorded."""
    manifest = artifact.manifest
    payload = {"path": str(artifact.path), "id": artifact.id, **manifest.model_dump(mode="json")}

    def render() -> None:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_row("path", str(artifact.path))
        table.add_row("id", artifact.id)
        table.add_row("kind", manifest.kind)
        table.add_row("task", manifest.task)
        table.add_row("size", megabytes(artifact.size_bytes))
        table.add_row("made by", " > ".join(step.stage for step in manifest.lineage))
        for name, value in sorted(manifest.facts.items()):
            text = str(value)
            table.add_row(name, text if len(text) <= 200 else text[:197] + "...")
        Console().print(table)

    options.emit(payload, as_json, render)
