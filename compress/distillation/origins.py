"""Which model of a run is the original, and which of its layers each later layer came from."""

from __future__ import annotations

from collections.abc import Sequence

from compress.artifacts.artifact import Artifact
from compress.errors import RecipeError


def teacher_artifact(teacher: str, chain: Sequence[Artifact]) -> Artifact | None:
    """The artifact that a config's ``teacher`` means; None for a folder.

    Args:
        teacher: ``source``, ``original`` or a path.
        chain: the torch artifacts of this run, oldest first, the source last.

    Raises:
        RecipeError: the original is not part of this run.
    """
    if teacher == "source":
        return chain[-1]
    if teacher != "original":
        return None
    tuned = [artifact for artifact in chain if artifact.manifest.stage == "finetune"]
    first = (tuned or list(chain))[0]
    if first.manifest.stage not in {"load", "finetune"}:
        raise RecipeError(
            "'teacher: original' is the first fine-tuned model of a run, and this run starts from an "
            f"artifact of '{first.manifest.stage}': give the folder of the teacher, or 'source'"
        )
    return first


def layer_steps(chain: Sequence[Artifact]) -> list[list[int]] | None:
    """Which layers (from 1) each artifact kept of the one before it; None where one does not say.

    Args:
        chain: the artifacts after the first one, oldest first.
    """
    steps: list[list[int]] = []
    for artifact in chain:
        manifest = artifact.manifest
        if manifest.stage == "finetune":
            continue
        layers = manifest.facts.get("layers")
        if manifest.stage not in {"distill", "prune"} or not isinstance(layers, list):
            return None
        teacher = manifest.config.get("teacher", "source")
        direct = teacher == "source" or (teacher == "original" and artifact is chain[0])
        if manifest.stage == "distill" and not direct:
            return None
        steps.append([int(layer) for layer in layers])
    return steps


def trace_layers(depth: int, steps: Sequence[Sequence[int]]) -> tuple[int, ...] | None:
    """Which layer of the first model (from 1) each layer of the last one came from; None where unclear.

    Args:
        depth: layers of the first model.
        steps: for each later model in turn, the layers (from 1) of the one before it that it has.
    """
    origins = tuple(range(1, depth + 1))
    for step in steps:
        if not step or not 1 <= min(step) <= max(step) <= len(origins):
            return None
        origins = tuple(origins[layer - 1] for layer in step)
    return origins
