"""Keeps the generated tables of the README and of the docs equal to what they are made from.

In a checkout, ``python -m tools.readme_tables`` writes the table of ``studies/results/sst2.json``, those of
``studies/results/gpu/*.json`` and ``studies/results/encoders/*.json``, what the false-alarm study found, and
the rooms of the house between the markers of their pages; ``python -m tools.readme_tables --check`` only says
whether they are there. Figures are never typed by hand; where no GPU run is recorded, a sentence says so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench.record import document
from bench.report import markdown
from studies import encoders, false_alarms
from studies.gpu import table as gpu
from tools import rooms

RESULTS = Path("studies", "results", "sst2.json")
GPU = Path("studies", "results", "gpu")
ALARMS = Path("studies", "results", "false-alarms", "study.json")

TABLES: Final[dict[str, Callable[[Path], str]]] = {
    "results": lambda root: markdown.table(document.read(root / RESULTS)),
    "gpu": lambda root: gpu.render(gpu.read(root / GPU)),
    "alarms": lambda root: false_alarms.markdown(json.loads((root / ALARMS).read_text(encoding="utf-8"))),
    "encoders": lambda root: encoders.markdown(encoders.read(root / encoders.RESULTS)),
    "rooms": rooms.table,
}
"""What stands between the markers of each name, made from a checkout."""

PAGES: Final[dict[str, tuple[str, ...]]] = {
    "README.md": ("results",),
    "docs/index.md": ("results",),
    "docs/gpu.md": ("gpu",),
    "docs/measuring.md": ("alarms",),
    "docs/architecture.md": ("rooms",),
    "studies/results/README.md": ("encoders",),
}
"""Which tables each page holds."""


def markers(name: str) -> tuple[str, str]:
    """The lines before and after a table."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def render(page: str, table: str, name: str = "results") -> str:
    """The page with the table between the markers of a name.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    first, last = markers(name)
    before, begin, tail = page.partition(first)
    _, end, after = tail.partition(last)
    if not (begin and end) or first in after or last in before:
        raise ValueError(f"the page needs {first} and {last}, once each and in this order")
    return f"{before}{first}\n\n{table}\n\n{last}{after}"


def whole(name: str, root: Path) -> str:
    """A page of a checkout with every table as it is to be."""
    page = (root / name).read_text(encoding="utf-8")
    for table in PAGES[name]:
        page = render(page, TABLES[table](root), table)
    return page


def main(arguments: list[str]) -> int:
    """Write the tables of the pages in the folder that we are in, or check them."""
    root = Path()
    pages = {name: whole(name, root) for name in PAGES}
    if arguments == ["--check"]:
        return int(any((root / name).read_text(encoding="utf-8") != text for name, text in pages.items()))
    for name, text in pages.items():
        (root / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
