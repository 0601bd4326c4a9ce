"""A report as one HTML file: no network, light and dark, readable on a phone; all text escaped."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from bench import device_tables, plots, summary
from bench.record import Report


@cache
def _template() -> Template:
    file = Path(__file__).parent / "report.html.jinja"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(file.read_text(encoding="utf-8"))


def page(report: Report) -> str:
    """The whole page, the verdict and the deciding figures first."""
    drawn = (
        ("Accuracy against latency", plots.tradeoff(report)),
        ("Latency (box: middle half; whiskers: p5 to p95)", plots.distribution(report)),
        ("Size", plots.size_bars(report)),
        ("Memory", plots.memory_bars(report)),
    )
    points = summary.grid(report)
    return _template().render(
        report=report,
        s=summary,
        status=summary.overall(report),
        lines=summary.lines(report),
        metric=summary.main_metric(report) or "score",
        # The SVG comes from matplotlib, which escapes the names in it.
        plots=[(title, Markup(svg)) for title, svg in drawn if svg],
        points=points,
        device_tables=device_tables.tables(report),
        colors=[plots.color(index) for index in range(len(report.candidates))],
    )
