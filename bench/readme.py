"""Keeps the README's table of results equal to the recorded reports.

``python -m bench.readme`` writes the table of ``bench/results/sst2.json`` between the README's markers;
``python -m bench.readme --check`` only says whether it is there. Figures are never typed by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench import report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "sst2.json"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def render(page: str, table: str) -> str:
    """The page with the table between the markers.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or BEGIN in after or END in before:
        raise ValueError(f"the page needs {BEGIN} and {END}, once each and in this order")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write the README's table, or check it."""
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    wanted = render(text, report.table(report.read(RESULTS)))
    if arguments == ["--check"]:
        return int(text != wanted)
    page.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
