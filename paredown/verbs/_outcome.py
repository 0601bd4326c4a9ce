"""What a run leaves on the screen, and the exit code of its gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from compress import log
from compress.errors import ExitCode
from paredown.verbs import _options, _rendering

if TYPE_CHECKING:
    from paredown.workflow import Outcome


def finish(outcome: Outcome, as_json: bool, *, shows: bool = False) -> None:
    """Show a run's result and leave with the gates' exit code.

    Args:
        outcome: of the run.
        as_json: whether stdout is for the JSON alone.
        shows: whether the run only shows what there is, so that it ends well unless a gate failed.
    """
    from bench.record import document
    from bench.report import step_summary, terminal
    from bench.verdicts import judge

    payload = {
        "out": str(outcome.out),
        "artifacts": [
            {"label": entry.label, "id": entry.artifact.id, "path": str(entry.artifact.path)}
            for entry in outcome.built
        ],
        "report": document.sealed(outcome.report) if outcome.report else None,
    }

    def render() -> None:
        console = _rendering.console()
        if outcome.report is not None:
            terminal.show(outcome.report, Console())
            console.print(f"Report: {outcome.out / 'report.html'}", soft_wrap=True)
        console.print(f"Model:  {outcome.out / 'model'}", soft_wrap=True)

    _options.emit(payload, as_json, render)
    if outcome.report is not None:
        step_summary.append(outcome.report)
        code = judge.exit_code(outcome.report.verdicts, outcome.report.inconclusive)
        if shows and code in {ExitCode.INCONCLUSIVE, ExitCode.ANOMALOUS}:
            log.warning(
                "The demo ran and no gate failed; what stayed open is said above. The exit code is 0, where "
                "'paredown run' gives %d.",
                code,
            )
            code = ExitCode.OK
        raise typer.Exit(code)
