"""What a verb does with a report: files, the step summary, trackers, the exit code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from compress import outputs
from paredown.verbs._report_options import STDOUT

if TYPE_CHECKING:
    from bench.record.model import Counts, Report
    from bench.session import CandidateSpec
    from compress.recipe import BenchConfig, DataConfig, Named


@dataclass(frozen=True)
class Files:
    """Where a report is written; None where a form was not asked for.

    Attributes:
        json: file, or ``-`` for stdout, which is no file.
        html: file.
        markdown: file.
        junit: file.
        render: the Markdown; ``bench.report.markdown.page`` when None.
    """

    json: str | None = None
    html: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    render: Callable[[Report], str] | None = None

    def __post_init__(self) -> None:
        """Refuse two forms in one file, before anything is measured."""
        json = None if self.json is None or self.stdout else Path(self.json)
        outputs.distinct([path for path in (json, self.html, self.markdown, self.junit) if path is not None])

    @property
    def stdout(self) -> bool:
        """Whether stdout is for the JSON alone."""
        return self.json == STDOUT

    def write(self, report: Report) -> list[Path]:
        """Write every form that was asked for; the files.

        Raises:
            UserError: there is no place to write one.
        """
        from bench.record import document
        from bench.report import junit, markdown

        json = Path(self.json) if self.json is not None and not self.stdout else None
        forms = (
            (json, document.to_json),
            (self.html, _html),
            (self.markdown, self.render or markdown.page),
            (self.junit, junit.xml),
        )
        written = []
        for path, render in forms:
            if path is not None:
                document.write(path, render(report))
                written.append(path)
        return written


def _html(report: Report) -> str:
    """The page, for which alone the library that draws its plots is imported."""
    from bench.report import html

    return html.page(report)


def measured(
    specs: Sequence[CandidateSpec],
    rows: DataConfig,
    config: BenchConfig,
    files: Files,
    *,
    gates: Sequence[Named],
    seed: int | None,
    title: str | None = None,
    more_minutes: float,
    inconclusive: Counts | None,
    track: Sequence[str] | None,
    summary: bool | None,
) -> Report:
    """Measure and judge candidates, write the files and the step summary, and tell the trackers.

    Args:
        specs: the candidates; the last one is what ships.
        rows: where the evaluation rows are.
        config: what to measure.
        files: where the report goes.
        gates: what it is held to.
        seed: of shuffles and resamples; 0 when None.
        title: of the report.
        more_minutes: for measuring more while a verdict is inconclusive.
        inconclusive: what an inconclusive verdict counts as, which the report then says.
        track: trackers, each ``NAME`` or ``NAME:LOCATION``.
        summary: True asks for the step summary, False forbids it, None writes where there is one.

    Raises:
        UserError: anything that the user can mend.
    """
    from bench import tracking
    from bench.report import step_summary
    from bench.session import measure
    from compress.artifacts.artifact import Artifact

    with tracking.following(track or (), specs[-1].name, config.model_dump(mode="json")) as trackers:
        for spec in specs:
            trackers.sealed(spec.name, Artifact.open(spec.path, verify=False))
        report = measure(
            specs,
            rows,
            config,
            seed=seed or 0,
            gates=gates,
            title=title,
            more_minutes=more_minutes,
            inconclusive=inconclusive,
        )
        trackers.finished(report, files.write(report), None)
    step_summary.append(report, summary)
    return report


def leave(report: Report) -> None:
    """End the command with the exit code of the verdicts.

    Raises:
        typer.Exit: always.
    """
    from bench.verdicts import judge

    raise typer.Exit(judge.exit_code(report.verdicts, report.inconclusive))
