"""Options that the verbs bench, gate, report and damage share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# What --json takes for the standard output.
STDOUT = "-"

Budget = Annotated[
    Path | None, typer.Option("--budget", help="YAML list of gates, such as '- size: {at_most: 25MB}'.")
]
JsonFile = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the report as JSON; '-' is stdout, and nothing else."),
]
HtmlFile = Annotated[Path | None, typer.Option("--html", help="Write one HTML file with plots.")]
MarkdownFile = Annotated[Path | None, typer.Option("--markdown", help="Write Markdown.")]
JunitFile = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML: one test case a gate.")]
Summary = Annotated[
    bool | None,
    typer.Option(
        "--summary/--no-summary",
        help="Append Markdown to $GITHUB_STEP_SUMMARY; done where that is set, unless --no-summary.",
        show_default=False,
    ),
]
BudgetMinutes = Annotated[
    float,
    typer.Option("--budget-minutes", min=0, help="To measure more in, while a verdict is inconclusive."),
]
AllowChance = Annotated[
    bool,
    typer.Option(
        "--allow-chance", help="Judge beside a baseline that is no better than chance; the report says so."
    ),
]
Shared = Annotated[
    bool, typer.Option("--shared", help="Measure on a GPU that others use; the report says so.")
]
