"""Reports of schema 1, which said by the first words of a note what schema 2 has fields for.

The words are those that were written then. They stand here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA = 1

_UNSTABLE = "unstable"
_HOST_BOUND = "host_bound:"
_SATURATED = "saturated:"
_SPOILED = "spoiled:"
_WHOLE_DEVICE = "the whole device, other processes included: its driver shows no processes here"
_NOT_MEASURED = "not measured"


def lifted(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A report's tree as schema 2 has it, where it is of schema 1; any other as it is.

    What is not as schema 1 had it stays, for the types of schema 2 to refuse.

    Args:
        tree: of the file, without its seal.
    """
    report = dict(tree)
    version = report.get("schema_version", SCHEMA)
    if type(version) is not int or version != SCHEMA:
        return report
    report["schema_version"] = 2
    measurements, conditions = tree.get("measurements"), tree.get("conditions")
    if isinstance(measurements, list):
        report["measurements"] = [_measurement(measurement) for measurement in measurements]
    if isinstance(conditions, dict):
        report["conditions"] = {
            key.replace(_NOT_MEASURED, "not_measured"): condition for key, condition in conditions.items()
        }
    return report


def _measurement(tree: Any) -> Any:
    notes = tree.get("notes") if isinstance(tree, dict) else None
    if not isinstance(notes, list) or "flags" in tree:
        return tree
    texts = [note for note in notes if isinstance(note, str)]

    def begins(words: str) -> list[str]:
        return [note.removeprefix(words).strip() for note in texts if note.startswith(words)]

    flags = {
        "unstable": bool(begins(_UNSTABLE)),
        "host_bound": bool(begins(_HOST_BOUND)),
        "saturated": bool(begins(_SATURATED)),
        "whole_device": _WHOLE_DEVICE in texts,
        "spoiled": "; ".join(begins(_SPOILED)) or None,
    }
    return {**tree, "flags": flags}
