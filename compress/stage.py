"""What a stage is: one step from artifact to artifact.

A stage is a module in this folder or in ``deploy/stages``. The pipeline validates its ``Config``,
forms the key, gives it an empty folder and seals what it wrote there. A stage reads only its
source, the declared data and the paths that ``reads`` names, and writes only into ``ctx.out`` (its
result) and ``ctx.scratch`` (what survives a kill: checkpoints, caches).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from compress.artifacts.artifact import Kind
from compress.contract import optional
from compress.errors import RecipeError
from compress.strict import Strict

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.data import TrainingData
    from compress.recipe import DataConfig
    from compress.tasks import Task

Role = Literal["train", "selection", "calibration", "unlabeled"]


class StageConfig(Strict):
    """The base of every stage's options: unknown keys are refused, values never change.

    A config only validates. It touches no device, no file and no environment variable.
    """


@dataclass(frozen=True)
class Context:
    """What the pipeline hands to a stage.

    Attributes:
        out: empty folder; the stage's result, and nothing else, goes here.
        scratch: folder under the stage's key that outlives a kill; it may hold an earlier try's
            checkpoints. Removed once the stage is sealed.
        task: the task module (see ``compress.tasks``).
        data: training-side rows; None when the stage declared no ``DATA`` or none was given. The
            evaluation split is not reachable from here, on purpose.
        seed: the run's seed.
        threads: CPU threads to use.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        record: notes a fact for the manifest (a JSON value under a name), such as a parity figure.
        cache: folder of the store that outlives builds, for what saves time and changes no result; None
            where there is no store.
        ancestors: the artifacts of this run before ``source``, oldest first; only for stages with
            ``ANCESTORS = True``.
    """

    out: Path
    scratch: Path
    task: Task
    data: TrainingData | None
    seed: int
    threads: int
    device: str
    record: Callable[[str, Any], None]
    ancestors: tuple[Artifact, ...] = ()
    cache: Path | None = None


class Stage(Protocol):
    """The names that a stage module defines.

    Attributes:
        Config: a ``StageConfig``.
        CONSUMES: kinds of artifact it accepts; empty for a stage that starts a chain (``load``).
        PRODUCES: the kind that it makes; None for one that makes the kind that it takes.
        VERSION: raised whenever the same input would give other bytes.
        TOOLS: distributions whose versions enter the key.
        DATA: the roles it reads; ``eval`` does not exist here.
        NEEDS_DATA: whether it refuses to run without data.
        DETERMINISTIC: whether the same key always gives the same content id (same machine).
        ANCESTORS: whether it reads ``ctx.ancestors`` (their ids then enter the key).
        MAKES_HEAD: whether it trains a head, so that it takes a model that has none. Every other stage, and
            whatever measures or predicts, refuses such a model: its answers are chance.
        BROUGHT_BY: the distribution that brings it -> its version, from the catalog, which enters the key;
            empty for one of ours.
    """

    Config: type[StageConfig]
    CONSUMES: frozenset[Kind]
    PRODUCES: Kind | None
    VERSION: int
    TOOLS: tuple[str, ...]
    DATA: frozenset[Role]
    NEEDS_DATA: bool
    DETERMINISTIC: bool
    ANCESTORS: bool
    MAKES_HEAD: bool
    BROUGHT_BY: Mapping[str, str] = MappingProxyType({})

    @staticmethod
    def reads(config: Any) -> tuple[Path, ...]:
        """Files and folders outside source and data that the result depends on; hashed into the key."""
        ...

    @staticmethod
    def run(source: Any, config: Any, ctx: Context) -> None:
        """Do the work; raise ``UserError`` for what the user can mend.

        Args:
            source: the open ``Artifact``; None for a stage that starts a chain.
            config: a ``Config``.
            ctx: where to write, and what to read.
        """
        ...

    @staticmethod
    @optional
    def machine(config: Any) -> dict[str, str] | None:
        """What of this machine the result is bound to, which then enters the key; None where to nothing.

        Raises:
            UserError: the stage cannot run here; a run is refused before anything is built.
        """
        return None

    @staticmethod
    @optional
    def tools(config: Any) -> Mapping[str, str]:
        """Distribution -> version of what the options choose, beyond ``TOOLS``; it enters the key."""
        return {}

    @staticmethod
    @optional
    def infer_task(config: Any, rows: DataConfig | None) -> str:
        """The task that a chain is for, of a stage that starts it.

        Raises:
            RecipeError: the options do not say.
        """
        raise RecipeError("the model does not say what it is for: name the task, such as --task NAME")

    @staticmethod
    @optional
    def require_head(config: Any, task: Task) -> None:
        """Refuse a model without a trained head, of a stage that starts a chain.

        Raises:
            ModelError: there is none; the answers would be chance.
        """
