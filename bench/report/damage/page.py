"""Damage as sections of the report's page: plots first, tables behind, the worst rows readable."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.display import words
from bench.record.model import Report
from bench.report.damage import rows, view


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sections(report: Report, candidate: str | None = None) -> Markup:
    """The sections about one candidate, the one that ships when None; empty where nothing was looked at."""
    damage = view.collect(report, candidate)
    if damage is None:
        return Markup()
    template = _environment().get_template("sections.html.jinja")
    steps = view.steps(report) if candidate is None else None
    # Markup: the SVG is serialized from a tree, with every name in it escaped.
    drawn = {
        model.kind: [(title, Markup(svg)) for title, svg in entry.plots(model)]
        for entry, model in damage.sections
    }
    return Markup(template.render(d=damage, r=rows, f=words, drawn=drawn, steps=steps))
