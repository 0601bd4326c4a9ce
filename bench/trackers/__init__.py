"""What a tracker is: it sends what a run made to an experiment tracker, through that tracker's own client.

A tracker is a module in this folder. All that it gets is sealed or written already, so it can neither
slow a stage nor change its result. It sends nothing over a network unless a user named an address, on
the command line or in the environment that its client reads; usage statistics of the client are off.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Run:
    """One run, before anything of it is there.

    Attributes:
        name: of the recipe, or of the candidate that ships.
        started: with its time zone.
        parameters: of the recipe or of the bench, by dotted key.
    """

    name: str
    started: datetime
    parameters: dict[str, str]

    @property
    def unique(self) -> str:
        """The name with the time: no two runs that are started in different seconds share it."""
        return f"{self.name}-{self.started:%Y%m%d-%H%M%S}"


@dataclass(frozen=True)
class Curve:
    """A figure over training steps, such as ``training/loss``; points are (step, value)."""

    name: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Stage:
    """One sealed artifact of a run.

    Attributes:
        name: of the stage, unique in the run.
        parameters: of the stage, by dotted key, and the artifact's id.
        figures: seconds and bytes.
        curves: of every training that the stage records.
        manifest: the file with everything else.
    """

    name: str
    parameters: dict[str, str]
    figures: dict[str, float]
    curves: tuple[Curve, ...]
    manifest: Path


@dataclass(frozen=True)
class Result:
    """What a run came to.

    Attributes:
        verdict: in one line.
        figures: of the bench: ``CANDIDATE/METRIC``, and its ratio or difference with the interval's ends.
        text: the report as Markdown.
        files: of the report.
        model: the folder that ships; None where nothing was built.
    """

    verdict: str
    figures: dict[str, float]
    text: str
    files: tuple[Path, ...]
    model: Path | None


class Sink(Protocol):
    """An open tracker, for one run.

    Attributes:
        where: one can look at what was sent; shown to the user.
    """

    where: str

    def stage(self, stage: Stage) -> None:
        """Send a sealed stage: parameters, figures, curves, manifest."""
        ...

    def result(self, result: Result) -> None:
        """Send the report, its figures and files, and the model where the tracker keeps files."""
        ...

    def close(self, succeeded: bool) -> None:
        """End the run, as finished or as failed."""
        ...


class Tracker(Protocol):
    """The names that a tracker module defines."""

    @staticmethod
    def start(run: Run, location: str | None) -> Sink:
        """Begin a run in the tracker.

        Args:
            run: its name and parameters.
            location: a folder or an address; what the tracker's own environment variables or its usual
                local folder say when None.

        Raises:
            MissingPiece: the client is not installed.
        """
        ...
