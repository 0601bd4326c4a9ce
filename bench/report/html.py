"""A report as one HTML file: no network, no script, light and dark, readable on a phone; all text escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from bench.display import svg
from bench.display.parts import Card
from bench.record.model import Report
from bench.report import cards, caveats, plots, summary, tables
from bench.report.damage import rows, view
from bench.report.damage.page import sections as damage_sections
from compress import fact_lines

# How many reasons of failed gates the first screen has room for.
REASONS = 2
# How many cards it has room for, where figures of probes leave any.
CARDS = 4
_HERE = Path(__file__).parent


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((_HERE / "report.html.jinja").read_text(encoding="utf-8"))


@cache
def _style() -> tuple[str, str]:
    """The style sheet, and its hash: the page's security policy allows this one and nothing else."""
    text = (_HERE / "report.css").read_text(encoding="utf-8")
    digest = hashlib.sha256(text.encode()).digest()
    return text, f"sha256-{base64.b64encode(digest).decode()}"


def _cards(report: Report, damage: view.Damage | None) -> list[Card]:
    """The figures of the first screen; those of findings where there is room for them."""
    leading = cards.cards(report)
    more = [card for entry, model in damage.sections for card in entry.cards(model)] if damage else []
    return leading + more[: max(0, CARDS - len(leading))]


def page(report: Report) -> str:
    """The whole page: the verdict and the deciding figures first, then plots, then tables to open."""
    style, digest = _style()
    damage = view.collect(report)
    return _template().render(
        report=report,
        s=summary,
        brief=fact_lines.brief,
        status=summary.overall(report),
        reasons=REASONS,
        cards=_cards(report, damage),
        caveats=caveats.sentences(report),
        damage=damage,
        top=damage.highlights() if damage else [],
        r=rows,
        sections=damage_sections(report),
        # Markup: the SVG is serialized from a tree, with every name in it escaped; the style is a file here.
        plots=[(title, Markup(drawing)) for title, drawing in plots.drawn(report)],
        style=Markup(style),
        style_hash=digest,
        candidates=tables.candidates(report, wide=True),
        tables=[*tables.joined(report), tables.further(report, wide=True)],
        colors=svg.COLORS,
    )
