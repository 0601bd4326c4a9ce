"""Change models: fine-tune, distill, prune. The ground floor of paredown.

Importing this package imports no torch; the public names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compress import telemetry

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact
    from compress.recipe import Recipe, read
    from paredown.workflow import run

__version__ = "0.2.0"
__all__ = ["Artifact", "Recipe", "__version__", "read", "run"]

telemetry.switch_off()

_HOMES = {
    "Artifact": "compress.artifacts.artifact",
    "Recipe": "compress.recipe",
    "read": "compress.recipe",
    "run": "paredown.workflow",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compress' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
