"""TensorBoard: curves and figures as scalars, parameters and the report as text, in a local folder.

TensorBoard keeps no files: of artifacts it gets the ids. A location is a folder, ``runs/tensorboard`` when
there is none; every run has a folder of its own in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.trackers import Result, Run, Stage
from compress import environment

_FOLDER = Path("runs") / "tensorboard"


def _table(rows: dict[str, str]) -> str:
    """Pairs as a Markdown table, which TensorBoard draws."""
    lines = ["| what | value |", "| --- | --- |"]
    for key, value in rows.items():
        cells = (text.replace("|", "\\|").replace("\n", " ") for text in (key, value))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


class Sink:
    """One run's event file."""

    def __init__(self, writer: Any, place: str) -> None:
        self._writer = writer
        self.where = place

    def stage(self, stage: Stage) -> None:
        """Write a stage's text, figures and curves."""
        self._writer.add_text(f"stages/{stage.name}", _table(stage.parameters))
        for name, value in stage.figures.items():
            self._writer.add_scalar(f"{stage.name}/{name}", value, 0)
        for curve in stage.curves:
            for step, value in curve.points:
                self._writer.add_scalar(f"{stage.name}/{curve.name}", value, step)
        self._writer.flush()

    def result(self, result: Result) -> None:
        """Write the report's figures and text."""
        for name, value in result.figures.items():
            self._writer.add_scalar(f"bench/{name}", value, 0)
        self._writer.add_text("verdict", result.verdict)
        if result.text:
            self._writer.add_text("report", result.text)
        self._writer.flush()

    def close(self, succeeded: bool) -> None:
        """Say how it ended and close the file."""
        self._writer.add_text("status", "finished" if succeeded else "failed")
        self._writer.close()


def start(run: Run, location: str | None) -> Sink:
    """Open an event file in a new folder below the location."""
    environment.require("tensorboard", extra="tensorboard", purpose="--track tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    folder = Path(location).expanduser() if location else _FOLDER
    writer = SummaryWriter(str(folder / run.unique))
    sink = Sink(writer, place=f"{folder} (tensorboard --logdir {folder})")
    writer.add_text("run", _table(run.parameters))
    return sink
