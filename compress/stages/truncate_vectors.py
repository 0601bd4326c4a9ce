"""Keep the first numbers of an embedder's vectors, inside the model and its graph.

A vector that was trained to be good in its first numbers too (Matryoshka, Kusupati et al. 2022; the option
``matryoshka`` of finetune and distill) may be cut there: an index of 128 numbers in place of 384 takes a
third of the room. Whoever loads the model gets the short vector, of the length 1 where the long one has it.
No weight changes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from compress import log
from compress.artifacts import artifact
from compress.errors import ModelError
from compress.model import checkpoint
from compress.stage import Context, Role, StageConfig
from compress.tasks import _embedding as embedding

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

CONSUMES: frozenset[artifact.Kind] = frozenset({"torch"})
PRODUCES: artifact.Kind = "torch"
VERSION = 1
TOOLS = ("torch", "transformers")
DATA: frozenset[Role] = frozenset()
NEEDS_DATA = False
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False


class Config(StageConfig):
    """How much of a vector stays.

    Attributes:
        dimensions: numbers of a vector, its first ones.
    """

    dimensions: int = Field(ge=1, le=2**20)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside the source."""
    return ()


def run(source: Artifact | None, config: Config, ctx: Context) -> None:
    """Write the model with shorter vectors.

    Raises:
        ModelError: it makes no vectors, or none that are longer.
    """
    if source is None:
        raise ModelError("truncate-vectors needs a model")
    task = ctx.task
    model = checkpoint.load(source.path, task)
    head = task.head_of(model.config.to_dict())
    if head.answer != "vector" or head.size is None:
        raise ModelError(
            f"truncate-vectors cuts the vectors of an embedder, and a model of {task.NAME} makes none: leave "
            "the stage out"
        )
    if config.dimensions >= head.size:
        raise ModelError(
            f"truncate-vectors: dimensions is {config.dimensions}, and the vectors of {source.path} have "
            f"{head.size} numbers: give fewer, or leave the stage out"
        )
    description = embedding.described(model.config).truncated(config.dimensions)
    setattr(model.config, embedding.FIELD, description.written())
    checkpoint.save(model, ctx.out, source=source.path)
    ctx.record("vectors", {"before": head.size, "after": config.dimensions, "unit": description.unit})
    log.info(
        "truncate-vectors: the first %d of %d numbers of a vector stay%s",
        config.dimensions,
        head.size,
        ", of the length 1" if description.unit else "",
    )
