"""Damage as one HTML file: plots first, tables behind, the worst rows readable; no network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench import summary
from bench.damage import figures, plots, tables, view, words
from bench.damage.view import Damage
from bench.record import Report

_HERE = Path(__file__).parent
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> Markup:
    """The style of the report's page: one look for both."""
    report = (_HERE.parent / "report.html.jinja").read_text(encoding="utf-8")
    found = _STYLE.search(report)
    return Markup(found[1] if found else "")


def _drawn(damage: Damage) -> dict[str, list[tuple[str, Markup]]]:
    """Section -> titled plots. The SVG comes from matplotlib, which escapes the names in it."""
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


@dataclass(frozen=True)
class Parts:
    """What a page about a report shows of damage; the page brings the report's own style.

    Attributes:
        style: rules for rows and colored words, besides the report's.
        first: the three worst slices and five flipped rows, for a first screen.
        sections: everything else, plots first.
    """

    style: Markup
    first: Markup
    sections: Markup


def parts(report: Report, candidate: str | None = None) -> Parts | None:
    """The parts about one candidate, the one that ships when None; None where nothing was looked at."""
    damage = view.collect(report, candidate)
    if damage is None:
        return None
    given = {
        "d": damage,
        "w": words,
        "t": tables,
        "f": figures,
        "top": view.highlights(report, candidate),
        "drawn": _drawn(damage),
    }
    style = (_HERE / "rows.css").read_text(encoding="utf-8")
    first, rest = (
        _environment().get_template(name).render(**given)
        for name in ("first.html.jinja", "sections.html.jinja")
    )
    return Parts(style=Markup(style), first=Markup(first), sections=Markup(rest))


def page(report: Report) -> str:
    """The whole page about the candidate that ships."""
    return (
        _environment()
        .get_template("damage.html.jinja")
        .render(
            report=report,
            style=_style(),
            s=summary,
            w=words,
            d=view.collect(report),
            parts=parts(report),
        )
    )
