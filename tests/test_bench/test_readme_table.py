"""The README's table is the recorded report's, and the record is a report."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import readme, report

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "bench" / "results"


def test_the_table_in_the_readme_is_generated_from_the_recorded_report() -> None:
    """Writing the table again changes nothing."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert report.table(report.read(RESULTS / "sst2.json")) in page
    assert readme.whole(page, ROOT) == page


def test_every_recorded_result_is_a_report_of_this_version() -> None:
    """Each JSON under bench/results can be read back, and compares real rows."""
    found = sorted(RESULTS.glob("*.json"))
    assert found
    for path in found:
        recorded = report.read(path)
        assert recorded.data["rows"] == 872, path
        assert recorded.environment["cpu"]


def test_a_changed_figure_is_noticed() -> None:
    """The comparison can fail: another table gives another page."""
    page = f"a\n{readme.BEGIN}\n\nold\n\n{readme.END}\nb"
    assert readme.render(page, "new") != page
    assert readme.render(page, "old") == page


def test_a_page_without_markers_is_refused() -> None:
    """Nothing is written where there is no place for it."""
    with pytest.raises(ValueError, match="results:begin"):
        readme.render("a page", "table")
