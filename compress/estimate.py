"""How long a stage will take and how much disk it needs, before it runs.

Where the store holds earlier results of the same stage, their recorded seconds per parameter are the
basis; else a rough figure from the arithmetic that the stage does. Either is an estimate and says on
what it rests.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from compress.artifact import Artifact
from compress.recipe import Recipe
from compress.stage import StageConfig
from compress.store import Store


@dataclass(frozen=True)
class Guess:
    """An estimate.

    Attributes:
        seconds: None where nothing is known.
        bytes: None where nothing is known.
        basis: where the figures come from, for the reader.
    """

    seconds: float | None
    bytes: int | None
    basis: str


NOTHING = Guess(seconds=0.0, bytes=0, basis="in the store")


def effort(config: dict[str, Any]) -> float:
    """How much more work an option set asks for: passes over the training rows, at least one."""
    passes = config.get("epochs") or (config.get("training") or {}).get("epochs") or 0
    recover = config.get("recover") or {}
    passes = passes or recover.get("epochs") or 0
    controls = 2.0 if config.get("control") else 1.0
    return max(1.0, float(passes) * controls)


class History:
    """Earlier results of the store, by stage."""

    def __init__(self, store: Store) -> None:
        """Read the manifests of a store once."""
        self._by_stage: dict[str, list[Artifact]] = {}
        for entry in store.entries():
            self._by_stage.setdefault(entry.artifact.manifest.stage, []).append(entry.artifact)

    def guess(self, stage: str, config: StageConfig, source: Artifact | None, recipe: Recipe) -> Guess:
        """Median of the earlier runs, scaled by passes over the data; ``None`` without any.

        Runs on the same data come first, since time goes with the number of rows.
        """
        earlier = self._by_stage.get(stage, [])
        if not earlier:
            size = source.size_bytes if source else None
            return Guess(seconds=None, bytes=size, basis="never run in this store")
        wanted = recipe.data.source if recipe.data else None
        same = [
            each
            for each in earlier
            if wanted is not None
            and str((each.manifest.origin.data or {}).get("source", "")).endswith(wanted)
        ]
        chosen = same or earlier
        scale = effort(config.model_dump(mode="json"))
        seconds = statistics.median(
            float(each.manifest.facts.get("seconds", 0)) / effort(each.manifest.config) for each in chosen
        )
        size = int(statistics.median(each.size_bytes for each in chosen))
        basis = f"{len(chosen)} earlier run{'s' if len(chosen) > 1 else ''}{' on this data' if same else ''}"
        return Guess(seconds=round(seconds * scale, 1), bytes=size, basis=basis)
