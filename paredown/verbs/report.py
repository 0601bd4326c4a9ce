"""The verb report: show a report, or write it in another form."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from paredown.verbs import _options
from paredown.verbs._delivery import Files
from paredown.verbs._report_options import (
    HtmlFile,
    JunitFile,
    MarkdownFile,
)


def report(
    report_file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json that 'bench --json' wrote.")
    ],
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    junit_file: JunitFile = None,
    as_json: _options.Json = False,
) -> None:
    """Show a report, or write it as HTML, Markdown or JUnit."""
    from rich.console import Console

    from bench.record import document as reports
    from bench.report import terminal

    loaded = reports.read(report_file)
    written = Files(None, html_file, markdown_file, junit_file).write(loaded)

    def render() -> None:
        for path in written:
            sys.stdout.write(f"{path}\n")
        if not written:
            terminal.show(loaded, Console())

    payload = {"written": [str(path) for path in written], "report": reports.sealed(loaded)}
    _options.emit(payload, as_json, render)
