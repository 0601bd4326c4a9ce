"""How far a TensorRT build is, and that Ctrl-C ends it."""

from __future__ import annotations

import fake_tensorrt
import pytest

from deploy.tensorrt import monitor


def test_progress_follows_nested_phases() -> None:
    """Two of four steps, and half of the third, are 5/8; an early finish counts whole; it never falls."""
    phases = monitor.Phases()
    phases.start("build", None, 4)
    phases.step("build", 0)
    phases.step("build", 1)
    phases.start("tactics", "build", 10)
    for i in range(5):
        phases.step("tactics", i)
    assert phases.share == pytest.approx(5 / 8)
    phases.finish("tactics")
    assert phases.share == pytest.approx(3 / 4)
    phases.step("build", 2)
    assert phases.share == pytest.approx(3 / 4)
    phases.finish("build")
    assert phases.share == 1.0
    phases.finish("never started")
    phases.step("never started", 3)


def test_ctrl_c_stops_the_build_and_is_raised_after_it() -> None:
    """The exception does not pass through the builder; its next step answers 'stop'."""

    class Bar:
        def advance(self, steps: float = 1, note: str = "") -> None:
            raise KeyboardInterrupt

    watch = monitor.create(fake_tensorrt.module("10.16.1"), Bar())  # type: ignore[arg-type]
    watch.phase_start("build", None, 2)
    assert watch.step_complete("build", 0) is False
    assert watch.interrupted
