"""Keeps the README's tables of results equal to the recorded reports.

In a checkout, ``python -m tools.readme_tables`` writes the table of ``studies/results/sst2.json``, those of
``studies/results/gpu/*.json`` and what the false-alarm study found between the README's markers;
``python -m tools.readme_tables --check`` only says whether they are there. Figures are never typed by hand;
where no GPU run is recorded, a sentence says so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from bench.record import document
from bench.report import markdown
from studies import false_alarms
from studies.gpu import table as gpu

RESULTS = Path("studies", "results", "sst2.json")
GPU = Path("studies", "results", "gpu")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
ALARMS = Path("studies", "results", "false-alarms", "study.json")
GPU_BEGIN, GPU_END = "<!-- gpu:begin -->", "<!-- gpu:end -->"
ALARMS_BEGIN, ALARMS_END = "<!-- alarms:begin -->", "<!-- alarms:end -->"


def render(page: str, table: str, first: str = BEGIN, last: str = END) -> str:
    """The page with the table between two markers.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end) or first in after or last in before:
        raise ValueError(f"the page needs {first} and {last}, once each and in this order")
    return f"{before}{first}\n\n{table}\n\n{last}{after}"


def whole(page: str, root: Path) -> str:
    """The page with every table as the recorded results of a checkout give it."""
    study = json.loads((root / ALARMS).read_text(encoding="utf-8"))
    page = render(page, markdown.table(document.read(root / RESULTS)))
    page = render(page, gpu.render(gpu.read(root / GPU)), GPU_BEGIN, GPU_END)
    return render(page, false_alarms.markdown(study), ALARMS_BEGIN, ALARMS_END)


def main(arguments: list[str]) -> int:
    """Write the tables of the README in the folder that we are in, or check them."""
    root = Path()
    page = root / "README.md"
    text = page.read_text(encoding="utf-8")
    wanted = whole(text, root)
    if arguments == ["--check"]:
        return int(text != wanted)
    page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
