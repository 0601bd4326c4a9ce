"""The files of a report: JSON, HTML, Markdown and JUnit, each written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from bench.record.document import to_json, write
from bench.record.model import Report
from bench.report import html
from bench.report.junit import xml
from bench.report.markdown import page

JSON, HTML, MARKDOWN, JUNIT = "report.json", "report.html", "report.md", "junit.xml"


FILES = (JSON, HTML, MARKDOWN, JUNIT)


def write_all(report: Report, folder: Path) -> None:
    """Write JSON, HTML, Markdown and JUnit into a folder."""
    for name, text in (
        (JSON, to_json(report)),
        (HTML, html.page(report)),
        (MARKDOWN, page(report)),
        (JUNIT, xml(report)),
    ):
        write(folder / name, text)
