"""Numbers and verdicts: measures candidates side by side and holds them to a budget.

``bench.measure(...)`` is the Python API; nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compress import telemetry

if TYPE_CHECKING:
    from bench.record.model import Report
    from bench.session import CandidateSpec, measure
    from bench.verdicts.judge import load_budget

__all__ = ["CandidateSpec", "Report", "load_budget", "measure"]

telemetry.switch_off()

_HOMES = {
    "CandidateSpec": "bench.session",
    "Report": "bench.record.model",
    "load_budget": "bench.verdicts.judge",
    "measure": "bench.session",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bench' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
