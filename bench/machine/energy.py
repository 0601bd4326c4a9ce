"""Energy counters of the processor (RAPL), as Linux shows them under ``/sys/class/powercap``.

Each package counts microjoules and starts again at ``max_energy_range_uj``. Since the attack of CVE-2020-8694
the files are readable by root alone on most machines, and virtual machines have none: then there is
no figure, and the reason is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/class/powercap")
# Whole packages only: their parts (core, uncore) are in them already.
_PACKAGES = "intel-rapl:[0-9]*"


@dataclass(frozen=True)
class Counter:
    """One package's counter.

    Attributes:
        file: that holds the microjoules.
        range: at which it starts again.
    """

    file: Path
    range: int

    def read(self) -> int:
        """Microjoules so far."""
        return int(self.file.read_text(encoding="ascii"))


def counters(root: Path = ROOT) -> list[Counter]:
    """The packages that can be read."""
    readable = []
    for folder in sorted(root.glob(_PACKAGES)):
        if folder.name.count(":") != 1:
            continue
        try:
            limit = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
            counter = Counter(folder / "energy_uj", limit)
            counter.read()
        except (OSError, ValueError):
            continue
        readable.append(counter)
    return readable


def unavailable(root: Path = ROOT) -> str | None:
    """Why there is no energy to read here; None where there is."""
    if counters(root):
        return None
    if any(root.glob(_PACKAGES)):
        return f"the energy counters under {root} are readable by root alone: let this user read energy_uj"
    return f"this machine shows no energy counter under {root} (virtual machines have none)"


def joules(before: list[int], after: list[int], ranges: list[int]) -> float:
    """Energy between two readings of the same counters, each of which may have started again once."""
    spent = 0
    for start, end, limit in zip(before, after, ranges, strict=True):
        spent += end - start if end >= start else end - start + limit
    return spent / 1e6
