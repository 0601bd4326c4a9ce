"""A runtime that never comes back: from opening, or from a run."""

from __future__ import annotations

import time
from typing import Any

import fake_runtime
import numpy as np

_FOR_EVER = 3600.0


class Runner(fake_runtime.Runner):
    """The fake runtime, hanging at one place."""

    def configure(self, *, at: str = "open", **options: Any) -> None:
        """Take the place: ``open`` or ``run``."""
        super().configure(**options)
        self._at = at

    def open(self) -> None:
        """Hang, or open."""
        if self._at == "open":
            time.sleep(_FOR_EVER)
        super().open()

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Hang."""
        time.sleep(_FOR_EVER)
        return super().run(feed)
