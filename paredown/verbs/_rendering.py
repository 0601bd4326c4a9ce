"""How results look to a person: an artifact, a duration, a size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from compress import fact_lines
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
        passport: dict[str, Any] = {
            "path": str(artifact.path),
            "id": artifact.id,
            "seal": artifact.seal,
            "kind": manifest.kind,
            "task": manifest.task,
            "size": megabytes(artifact.size_bytes),
            "model": manifest.origin.model,
            "made by": " > ".join(step.stage for step in manifest.lineage),
        }
        cautions = _cautions(artifact)
        if cautions:
            passport["caution"] = cautions
        facts = {name: value for name, value in sorted(manifest.facts.items()) if name not in passport}
        terminal = console()
        text = "\n".join(fact_lines.lines(passport | facts, terminal.width))
        terminal.print(text, highlight=False, soft_wrap=True)

    _options.emit(payload, as_json, render)


def _cautions(artifact: Artifact) -> list[str]:
    """What whoever uses an artifact must know and no figure shows."""
    from compress.model import limit, padding

    sentences = artifact.manifest.origin.labels.sentences()
    return sentences if limit.read_padding(artifact.path) else [*sentences, padding.SENTENCE]
