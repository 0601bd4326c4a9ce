"""The verb gate: judge a report by a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compress import outputs
from paredown.verbs import _delivery, _options
from paredown.verbs._delivery import Files
from paredown.verbs._report_options import (
    HtmlFile,
    JunitFile,
    MarkdownFile,
    Summary,
)


def gate(
    report_file: Annotated[
        Path, typer.Argument(metavar="REPORT", help="A report.json that 'bench --json' wrote.")
    ],
    budget: Annotated[
        Path, typer.Option("--budget", help="YAML list of gates, such as '- size: {at_most: 25MB}'.")
    ],
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--report",
            parser=outputs.file,
            metavar="<path>",
            help="Write the report with these verdicts as JSON.",
        ),
    ] = None,
    html_file: HtmlFile = None,
    markdown_file: MarkdownFile = None,
    junit_file: JunitFile = None,
    inconclusive: _options.Inconclusive = None,
    summary: Summary = None,
    as_json: _options.Json = False,
) -> None:
    """Judge a report by a budget; measures nothing. Exit 0 passed, 3 failed, 4 inconclusive, 5 anomalous."""
    from rich.console import Console

    from bench.record import document as reports
    from bench.report import step_summary, terminal
    from bench.verdicts import judge

    report = reports.read(report_file, must_be_sealed=True)
    judged = judge.judge(report.model_copy(update={"inconclusive": inconclusive}), judge.load_budget(budget))
    json = str(json_file.absolute()) if json_file else None  # "-" is a file here
    Files(json, html_file, markdown_file, junit_file).write(judged)
    step_summary.append(judged, summary)
    _options.emit(
        [verdict.model_dump(mode="json") for verdict in judged.verdicts],
        as_json,
        lambda: terminal.show_verdicts(judged, Console()),
    )
    _delivery.leave(judged)
