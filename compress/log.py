"""Messages and progress, on stderr; results alone go to stdout."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOGGER = logging.getLogger("paredown")


@cache
def console() -> Console:
    """The one console for messages, on stderr."""
    return Console(stderr=True)


def configure(verbosity: int = 0) -> None:
    """Set up logging: -1 quiet (errors only), 0 normal, 1 verbose."""
    level = {-1: logging.ERROR, 0: logging.INFO}.get(verbosity, logging.DEBUG)
    handler: logging.Handler
    if console().is_terminal:
        handler = RichHandler(
            console=console(), show_path=False, show_level=verbosity > 0, markup=False, show_time=False
        )
    else:
        handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(level)
    _LOGGER.propagate = False


def info(message: str, *args: object) -> None:
    """A line that every user should see."""
    _LOGGER.info(message, *args)


def detail(message: str, *args: object) -> None:
    """A line for ``--verbose``."""
    _LOGGER.debug(message, *args)


def warning(message: str, *args: object) -> None:
    """A line about something that the user may want to change."""
    _LOGGER.warning(message, *args)


@cache
def once(message: str, *args: object) -> None:
    """A line that every user should see, said once a process for the same words."""
    _LOGGER.info(message, *args)


class Bar:
    """One running progress bar."""

    def __init__(self, progress: Progress | None, task: int) -> None:
        """Wrap a rich task; without a progress, every call does nothing."""
        self._progress = progress
        self._task = task

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move on by some steps, with a short note such as the loss."""
        if self._progress is not None:
            self._progress.update(self._task, advance=steps, note=note)  # type: ignore[arg-type]


@contextmanager
def progress(description: str, total: float | None) -> Iterator[Bar]:
    """A bar with an ETA on stderr; silent where stderr is no terminal or logging is quiet."""
    if not console().is_terminal or not _LOGGER.isEnabledFor(logging.INFO):
        yield Bar(None, 0)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console(), transient=True) as display:
        yield Bar(display, int(display.add_task(description, total=total, note="")))
