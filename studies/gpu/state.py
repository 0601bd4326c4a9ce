"""Where a run stands, on disk: written whole or not at all, so that any stop leaves a state to go on from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compress.errors import UserError
from studies.gpu.plan import Cell

SCHEMA = 2
# A cell that was cut off this often by the time limit is given up: it does not fit.
MOST_TRIES = 3


@dataclass
class Entry:
    """What is known of one cell.

    Attributes:
        status: ``pending``, ``running``, ``done``, ``skipped`` (something is not there) or ``failed``.
        tries: how often it was started.
        seconds: that the last try took.
        reason: why it is skipped, failed or pending again.
        result: of a done cell.
        call: the number of the call that did it.
    """

    status: str = "pending"
    tries: int = 0
    seconds: float | None = None
    reason: str | None = None
    result: dict[str, Any] | None = None
    call: int | None = None


@dataclass
class State:
    """The state file.

    Attributes:
        identity: what must be equal for a run to go on: plan, device, artifacts, Python.
        calls: one entry a call: when, how long, on which machine.
        cells: by id.
    """

    identity: dict[str, Any]
    calls: list[dict[str, Any]] = field(default_factory=list)
    cells: dict[str, Entry] = field(default_factory=dict)

    def todo(self, cell: Cell) -> bool:
        """Whether a cell is still to be run; skipped ones are looked at again."""
        entry = self.cells.get(cell.id, Entry())
        return entry.status in ("pending", "running", "skipped") and entry.tries < MOST_TRIES

    def entry(self, cell: Cell) -> Entry:
        """The entry of a cell, made where there is none."""
        return self.cells.setdefault(cell.id, Entry())


def write_json(path: Path, value: Any) -> None:
    """Replace a file by new JSON in one step; a kill in between leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def save(state: State, path: Path) -> None:
    """Write the state file."""
    write_json(path, {"schema": SCHEMA, **asdict(state)})


def load(path: Path, identity: dict[str, Any]) -> State:
    """Read the state file, or start a new state.

    Raises:
        UserError: it belongs to another run (plan, device, artifacts or GPU), or cannot be read.
    """
    if not path.exists():
        return State(identity)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["schema"] != SCHEMA:
            raise UserError(
                f"{path} has schema {tree['schema']} and this is schema {SCHEMA}: choose another --out"
            )
        loaded = State(
            tree["identity"], tree["calls"], {name: Entry(**entry) for name, entry in tree["cells"].items()}
        )
    except (ValueError, KeyError, TypeError) as cause:
        raise UserError(f"{path} cannot be read ({cause}): remove it, or choose another --out") from cause
    differing = [
        f"{name}: {loaded.identity.get(name)!r} there, {identity.get(name)!r} here"
        for name in sorted(loaded.identity.keys() | identity.keys())
        if loaded.identity.get(name) != identity.get(name)
    ]
    if differing:
        raise UserError(
            f"{path} belongs to another run ({'; '.join(differing)}); figures of two runs are not mixed: "
            "choose another --out"
        )
    for name, entry in loaded.cells.items():
        if entry.status == "running":
            loaded.cells[name].status, loaded.cells[name].reason = "pending", "interrupted"
    return loaded
