"""Options that the verbs bench, gate, report and damage share."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from compress import outputs
from compress.errors import RecipeError

# What --json takes for the standard output.
STDOUT = "-"


def _number(value: float) -> float:
    """A number as it is; what is none lies between no limits."""
    if math.isnan(value):
        raise RecipeError("--budget-minutes is not a number: give minutes, such as 10")
    return value


def _json(text: str) -> str:
    """Stdout as it is, a file where it can be written."""
    return text if text == STDOUT else str(outputs.file(text))


Budget = Annotated[
    Path | None, typer.Option("--budget", help="YAML list of gates, such as '- size: {at_most: 25MB}'.")
]
JsonFile = Annotated[
    str | None,
    typer.Option(
        "--json",
        parser=_json,
        metavar="FILE",
        help="Write the report as JSON; '-' is stdout, and nothing else.",
    ),
]
HtmlFile = Annotated[
    Path | None,
    typer.Option("--html", parser=outputs.file, metavar="<path>", help="Write one HTML file with plots."),
]
MarkdownFile = Annotated[
    Path | None, typer.Option("--markdown", parser=outputs.file, metavar="<path>", help="Write Markdown.")
]
JunitFile = Annotated[
    Path | None,
    typer.Option(
        "--junit", parser=outputs.file, metavar="<path>", help="Write JUnit XML: one test case a gate."
    ),
]
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
    typer.Option(
        "--budget-minutes",
        min=0,
        max=10_080,
        callback=_number,
        help="To measure more in, while a verdict is inconclusive.",
    ),
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
