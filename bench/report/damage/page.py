"""Damage as sections of the report's page: plots first, tables behind, the worst rows readable."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.record.model import Report
from bench.report.damage import figures, plots, tables, view, words
from bench.report.damage.view import Damage


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _drawn(damage: Damage) -> dict[str, list[tuple[str, Markup]]]:
    """Section -> titled plots. The SVG is serialized from a tree, with the names in it escaped."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    if damage.slices is not None:
        found["slices"] = [("Change by slice (line: 95 % interval)", plots.slices(damage.slices))]
    if damage.flips is not None:
        found["flips"] = [("Answers before and now", plots.matrix(damage.flips))]
    if damage.calibration is not None:
        found["calibration"] = [
            ("How often answers of a confidence are right", plots.reliability(damage.calibration))
        ]
    if damage.robustness is not None:
        found["robustness"] = [("What changed texts cost each model", plots.changed(damage.robustness))]
    if damage.challenge is not None:
        sets = damage.challenge.sets
        found["challenge"] = [
            (f"{one.name}, the worst change first", plots.tests(one.tests)) for one in sets if one.tests
        ]
        if len(sets) > 1:
            found["challenge"].insert(0, ("Challenge sets", plots.tests(tables.all_sets(damage.challenge))))
    if damage.fairness is not None:
        found["fairness"] = [(f"{gap.source}: {gap.of}", plots.groups(gap)) for gap in damage.fairness.gaps]
    return {name: [(title, Markup(svg)) for title, svg in some if svg] for name, some in found.items()}


def sections(report: Report, candidate: str | None = None) -> Markup:
    """The sections about one candidate, the one that ships when None; empty where nothing was looked at."""
    damage = view.collect(report, candidate)
    if damage is None:
        return Markup()
    template = _environment().get_template("sections.html.jinja")
    steps = tables.step_cells(view.steps(report)) if candidate is None else []
    return Markup(template.render(d=damage, w=words, t=tables, f=figures, drawn=_drawn(damage), steps=steps))
