"""The roof: the command line, whole runs, and the public names of the floors below.

Importing this package imports nothing heavy; each name loads on first use:

    >>> import paredown
    >>> with paredown.load("runs/mine/model") as model:  # doctest: +SKIP
    ...     print(model.predict(["a fine film"])[0].label)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compress import __version__

if TYPE_CHECKING:
    from bench.record.model import Report
    from bench.session import CandidateSpec, measure
    from bench.verdicts.judge import load_budget
    from compress.artifacts.artifact import Artifact
    from compress.recipe import Recipe, read
    from deploy import load
    from paredown.workflow import run

__all__ = [
    "Artifact",
    "CandidateSpec",
    "Recipe",
    "Report",
    "__version__",
    "load",
    "load_budget",
    "measure",
    "read",
    "run",
]

_HOMES = {
    "Artifact": "compress.artifacts.artifact",
    "CandidateSpec": "bench.session",
    "Recipe": "compress.recipe",
    "Report": "bench.record.model",
    "load": "deploy",
    "load_budget": "bench.verdicts.judge",
    "measure": "bench.session",
    "read": "compress.recipe",
    "run": "paredown.workflow",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'paredown' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
