"""The builder's own progress on the project's progress bar.

TensorRT reports nested phases with steps. A phase inside another one is one step of it, so that the
share of the whole that is done follows from the stack of open phases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.log import Bar


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


@dataclass
class Phases:
    """Open phases by name, and how far the outermost one is.

    Attributes:
        share: of the whole that is done, 0 to 1; never falls.
    """

    share: float = 0.0
    _open: dict[str, _Phase] = field(default_factory=dict)

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase began."""
        self._open[name] = _Phase(parent, max(1, steps))

    def step(self, name: str, number: int) -> None:
        """A step of a phase ended (numbered from 0)."""
        if name in self._open:
            self._open[name].done = number + 1
            self._advance()

    def finish(self, name: str) -> None:
        """A phase ended, early or not."""
        phase = self._open.get(name)
        if phase is None:
            return
        phase.done = phase.steps
        self._advance()
        del self._open[name]

    def _advance(self) -> None:
        progress = sum(self._within(name) for name, phase in self._open.items() if phase.parent is None)
        roots = sum(phase.parent is None for phase in self._open.values())
        if roots:
            self.share = max(self.share, min(1.0, progress / roots))

    def _within(self, name: str) -> float:
        """The share of a phase that is done: whole steps, and what open phases inside it add to one step."""
        phase = self._open[name]
        inside = [self._within(child) for child, inner in self._open.items() if inner.parent == name]
        return min(phase.steps, phase.done + min(1.0, sum(inside))) / phase.steps


def create(trt: Any, bar: Bar) -> Any:
    """An ``IProgressMonitor`` that moves a bar of 100; Ctrl-C stops the build at its next step.

    Args:
        trt: the TensorRT module.
        bar: of ``compress.log.progress``.
    """

    class Monitor(trt.IProgressMonitor):
        """Called by the builder, from its own threads."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases = Phases()
            self.interrupted = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            try:
                before = self.phases.share
                self.phases.step(phase_name, step)
                bar.advance(100 * (self.phases.share - before), phase_name)
            except KeyboardInterrupt:
                # An exception does not pass through the builder; it is raised again when it returned.
                self.interrupted = True
            return not self.interrupted

        def phase_finish(self, phase_name: str) -> None:
            before = self.phases.share
            self.phases.finish(phase_name)
            bar.advance(100 * (self.phases.share - before))

    return Monitor()
